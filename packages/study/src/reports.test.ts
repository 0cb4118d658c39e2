import { describe, expect, it } from 'vitest';
import { plotsOf } from './plots.js';
import { csvField, csvOf, escapeHtml, failuresOf, htmlOf, markdownOf, summaryTable } from './reports.js';
import { type CellReport, MARK, type StudyReport, failureOf, isStudy, summaryOf } from './study.js';

const cell = (strategy: string, budget: string, seed: number, accuracy: number | null, over: Partial<CellReport> = {}): CellReport => ({
  strategy, budget, precision: null, seed, epochs: 0, status: accuracy === null ? 'infeasible' : 'done', error: accuracy === null ? { code: 'E501', message: 'no assignment meets the budget', expected: 'at least bops=2G' } : null,
  limit: 100, used: 98, objective: null, lowerBound: null, gap: null, bits: { weights: 3, activations: 4 }, weightBytes: 1000 + seed, bops: 5e6, latency: { wasm: 2e6 }, accuracy, loss: 0.5, untuned: null, training: [],
  assignment: null, ...over,
});
const EVIL = '<script>alert("x")</script>&\'|a_b*';
const study = (cells: CellReport[], name = 'net.onnx'): StudyReport => ({
  ...MARK, model: { name, sha256: 'ab'.repeat(32) }, data: { fingerprint: 'd', samples: 10 }, eval: { fingerprint: 'e', samples: 20 },
  options: { seeds: [0, 1] } as never, float: { accuracy: 92, loss: 0.3, bits: { weights: 32, activations: 32 }, weightBytes: 8000, bops: 9e7, latency: { wasm: 9e6 } },
  summary: summaryOf([...new Map(cells.map((c) => [`${c.strategy} ${c.budget}`, c])).values()], cells), cells,
});
const usual = study([cell('mckp', 'bops=3%', 0, 90), cell('mckp', 'bops=3%', 1, 91), cell('random', 'bops=3%', 0, 80), cell('random', 'bops=3%', 1, null), cell('mckp', 'bops=1%', 0, null), cell('mckp', 'bops=1%', 1, null)]);

describe('csv', () => {
  it.each([
    ['plain', 'plain'], [null, ''], [1.5, '1.5'], ['a,b', '"a,b"'], ['say "x"', '"say ""x"""'], ['two\nlines', '"two\nlines"'], ['\r', '"\r"'], ["'", "'"],
  ])('%j → %j', (value, text) => expect(csvField(value)).toBe(text));

  it('has as many fields in every row, and reads back', () => {
    const hostile = study([cell('mckp', 'bops=3%', 0, null, { error: { code: 'E501', message: 'a, "b"\r\nc' } })]);
    // A reader of its own: fields are quoted or have no special characters.
    const rows = [...csvOf(hostile).matchAll(/((?:"(?:[^"]|"")*"|[^",\r\n]*)(?:,(?:"(?:[^"]|"")*"|[^",\r\n]*))*)\r\n/g)]
      .map((m) => [...m[1].matchAll(/(?:^|,)(?:"((?:[^"]|"")*)"|([^",\r\n]*))/g)].map((f) => f[1]?.replaceAll('""', '"') ?? f[2]));
    expect(rows.map((r) => r.length)).toEqual([16, 16, 16]);
    expect(rows[2][15]).toBe('E501: a, "b"\r\nc');
    expect(rows[1].slice(0, 1)).toEqual(['float']);
    expect(csvOf(usual).split('\r\n')).toHaveLength(usual.cells.length + 3);
  });
});

describe('tables', () => {
  it('means and spreads over the seeds that have a result', () => {
    const { head, rows } = summaryTable(usual);
    expect(head).not.toContain('before fine-tuning, %');
    expect(rows.map((r) => r.slice(0, 4))).toEqual([['float', '', '', '92.00'], ['mckp', 'bops=3%', '2/2', '90.50 ± 0.71'], ['random', 'bops=3%', '1/2', '80.00'], ['mckp', 'bops=1%', '0/2', '–']]);
    for (const r of rows) expect(r).toHaveLength(head.length);
    expect(summaryTable(study([cell('mckp', 'bops=3%', 0, 90, { epochs: 3, untuned: { accuracy: 70, loss: 1 } })])).rows[1].slice(3, 5)).toEqual(['70.00', '90.00']);
  });

  it('one line for seeds to which the same happened', () => {
    expect(failuresOf(usual)).toEqual(['random bops=3%, seed 1: E501: no assignment meets the budget; at least bops=2G', 'mckp bops=1%, seeds 0, 1: E501: no assignment meets the budget; at least bops=2G']);
    expect(failureOf(usual)).toBeNull();
    expect(failureOf(study(usual.cells.filter((c) => c.error)))).toMatchObject({ code: 'E501' });
  });

  it('markdown: cells and names mean nothing to it', () => {
    const text = markdownOf(study([cell('mckp', EVIL, 0, 90)], EVIL));
    const rows = text.split('\n').filter((l) => l.startsWith('|'));
    for (const r of rows) expect(r.replace(/\\./g, '').split('|')).toHaveLength(rows[0].split('|').length);
    expect(text.replace(/\\./g, '')).not.toMatch(/[<>`]/);
  });
});

describe('html', () => {
  it('escapes', () => expect(escapeHtml('<a href="x">\'&amp;')).toBe('&#60;a href=&#34;x&#34;&#62;&#39;&#38;amp;'));

  it('is one page without scripts or anything from elsewhere, whatever names are', async () => {
    const hostile = study([cell(EVIL, EVIL, 0, 90), cell('mckp', 'bops=1%', 0, null, { error: { code: 'E501', message: EVIL } })], EVIL);
    const page = htmlOf(hostile, await plotsOf(hostile));
    expect(page).toContain(escapeHtml(EVIL));
    expect(page).not.toMatch(/<script|javascript:|https?:|\bsrc=|\bhref=|url\(|@import|<link|<iframe|<object|\bon[a-z]+=/i);
    expect(page.match(/<svg\b/g)).toHaveLength(3);
    // Every element that opens closes.
    const count = (pattern: RegExp): number => (page.match(pattern) ?? []).length;
    for (const tag of ['table', 'tr', 'td', 'th', 'svg', 'figure', 'g', 'text']) expect([tag, count(new RegExp(`<${tag}\\b[^>]*[^/]>|<${tag}>`, 'g'))]).toEqual([tag, count(new RegExp(`</${tag}>`, 'g'))]);
  });
});

describe('plots', () => {
  it('are the same bytes each time, and hold what was measured', async () => {
    const plots = await plotsOf(usual);
    expect(plots.map((p) => p.name)).toEqual(['accuracy-size', 'accuracy-bops', 'accuracy-latency']);
    expect(await plotsOf(usual)).toEqual(plots);
    for (const [i, { svg }] of plots.entries()) {
      expect(svg).toMatch(/^<svg [^>]*>[^]*<\/svg>\n$/);
      for (const text of [['Weights in bytes', 'BOPs', 'Predicted latency in ns (wasm)'][i], 'Accuracy in %', 'float', 'mckp', 'random']) expect(svg).toContain(`>${text}<`);
      expect(svg).not.toMatch(/NaN|undefined|Infinity|<script|<image/);
    }
  });

  it.each([['without any result', study([cell('mckp', 'bops=1%', 0, null)])], ['of one point', study([cell('mckp', 'bops=1%', 0, 50)])]])('%s', async (_, r) => {
    for (const { svg } of await plotsOf(r)) expect(svg).not.toMatch(/NaN|undefined|Infinity/);
  });
});

it('a study.json is told from other files', () => {
  expect(isStudy(JSON.parse(JSON.stringify(usual)))).toBe(true);
  for (const other of [null, 3, {}, [], { kind: 'study' }, { generator: { name: 'bitloom' } }, { kind: 'study', generator: null }]) expect(isStudy(other)).toBe(false);
});
