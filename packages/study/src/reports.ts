/** A study as JSON, CSV, Markdown, SVG and one page of HTML. */
import { join } from 'node:path';
import { writeFileAtomic } from '@bitloom/bundle';
import { labelOf } from './options.js';
import { type Plot, countedLatency, plotsOf } from './plots.js';
import { jsonText } from './stages.js';
import type { Estimate } from './statistics.js';
import type { StudyReport, Summary } from './study.js';

export async function writeReports(folder: string, r: StudyReport): Promise<void> {
  const plots = await plotsOf(r);
  const files = new Map([
    ...plots.map((p) => [`${p.name}.svg`, p.svg] as const),
    ['study.csv', csvOf(r)], ['study.md', markdownOf(r)], ['study.html', htmlOf(r, plots)], ['study.json', jsonText(r)],
  ] as const);
  for (const [name, text] of files) await writeFileAtomic(join(folder, name), text);
}

/** RFC 4180. */
export const csvField = (v: string | number | null): string => {
  const text = v === null ? '' : String(v);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
};

export function csvOf(r: StudyReport): string {
  const targets = Object.keys(r.float.latency);
  const head = [
    'strategy', 'budget', 'seed', 'status', 'limit', 'used', 'weight_bits', 'activation_bits', 'weight_bytes', 'bops', ...targets.map((t) => `latency_ns_${t}`),
    'epochs', 'accuracy_before_finetuning', 'accuracy', 'loss', 'message',
  ];
  const latency = (l: Readonly<Record<string, number>> | null): (number | null)[] => targets.map((t) => l?.[t] ?? null);
  const { float } = r;
  const rows: (string | number | null)[][] = [
    ['float', null, null, 'done', null, null, float.bits.weights, float.bits.activations, float.weightBytes, float.bops, ...latency(float.latency), 0, null, float.accuracy, float.loss, null],
    ...r.cells.map((c) => [
      c.strategy, labelOf(c), c.seed, c.status, c.limit, c.used, c.bits?.weights ?? null, c.bits?.activations ?? null, c.weightBytes, c.bops, ...latency(c.latency),
      c.epochs, c.untuned?.accuracy ?? null, c.accuracy, c.loss, c.error && messageOf(c.error),
    ]),
  ];
  return [head, ...rows].map((row) => `${row.map(csvField).join(',')}\r\n`).join('');
}

const messageOf = (e: NonNullable<StudyReport['cells'][number]['error']>): string => `${e.code}: ${e.message}${e.expected === undefined ? '' : `; ${e.expected}`}`;

const UNITS = ['', 'k', 'M', 'G', 'T', 'P'];
function si(v: number, unit: string): string {
  let i = 0;
  for (; Math.abs(v) >= 1000 && i < UNITS.length - 1; i++) v /= 1000;
  return `${i === 0 && Number.isInteger(v) ? v : v.toPrecision(4)} ${UNITS[i]}${unit}`.trim();
}
const milliseconds = (ns: number): string => `${(ns / 1e6).toPrecision(4)} ms`;
const NONE = '–';
const shown = (e: Estimate | null | undefined, show: (v: number) => string): string => (e ? show(e.mean) : NONE);
/** Mean ± spread in the same number of digits. */
const spread = (e: Estimate | null, digits: number): string => (e ? `${e.mean.toFixed(digits)}${e.spread === null ? '' : ` ± ${e.spread.toFixed(digits)}`}` : NONE);

/** The table of means: a head, and rows of text. */
export function summaryTable(r: StudyReport): { head: string[]; rows: string[][] } {
  const target = countedLatency(r);
  const { float } = r;
  const tuned = r.cells.some((c) => c.epochs > 0);
  const optional = (text: string): string[] => (tuned ? [text] : []);
  const row = (s: Summary): string[] => [
    s.strategy, labelOf(s), `${s.done}/${s.cells}`, ...optional(spread(s.untuned, 2)), spread(s.accuracy, 2),
    shown(s.weightBits, (v) => v.toFixed(2)), shown(s.activationBits, (v) => v.toFixed(2)), shown(s.weightBytes, (v) => si(v, 'B')), shown(s.bops, (v) => si(v, '')),
    shown(s.latency[target], milliseconds),
  ];
  return {
    head: ['strategy', 'budget', 'seeds', ...optional('before fine-tuning, %'), 'accuracy, %', 'weight bits', 'activation bits', 'weights', 'BOPs', `latency (${target})`],
    rows: [
      ['float', '', '', ...optional(''), float.accuracy.toFixed(2), '32', '32', si(float.weightBytes, 'B'), si(float.bops, ''), milliseconds(float.latency[target])],
      ...r.summary.map(row),
    ],
  };
}

/** What happened to cells without a result; a line for seeds to which the same happened. */
export function failuresOf(r: StudyReport): string[] {
  const seeds = new Map<string, number[]>();
  const key = (c: StudyReport['cells'][number]): string => JSON.stringify([`${c.strategy} ${labelOf(c)}`, messageOf(c.error!)]);
  for (const c of r.cells) if (c.error) seeds.set(key(c), [...(seeds.get(key(c)) ?? []), c.seed]);
  return [...seeds].map(([k, of]) => {
    const [setting, message] = JSON.parse(k) as [string, string];
    return `${setting}, ${of.length === 1 ? 'seed' : 'seeds'} ${of.join(', ')}: ${message}`;
  });
}

const about = (r: StudyReport): string => {
  const waiting = r.cells.filter((c) => c.status === 'pending').length;
  return `Model ${r.model.name} (SHA-256 ${r.model.sha256.slice(0, 12)}), ${r.data.samples} training samples, ${r.eval.samples} test samples. ` +
    `Accuracy on the test samples: mean ± sample standard deviation over seeds ${[...new Set(r.options.seeds)].join(', ')}.` +
    (waiting > 0 ? ` ${waiting} of ${r.cells.length} cells are not done yet.` : '');
};

export function markdownOf(r: StudyReport): string {
  const { head, rows } = summaryTable(r);
  const line = (cells: readonly string[]): string => `| ${cells.map((c) => c.replace(/[\\|`*_<>[\]]/g, '\\$&').replace(/\s+/g, ' ')).join(' | ')} |`;
  return [
    '# Study', about(r).replace(/[\\`*_<>[\]]/g, '\\$&'),
    [line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n'),
    ...(failuresOf(r).length > 0 ? [['Cells without a result:', '', ...failuresOf(r).map((f) => `- ${f.replace(/[\\`*_<>[\]]/g, '\\$&')}`)].join('\n')] : []),
  ].join('\n\n') + '\n';
}

export const escapeHtml = (text: string): string => text.replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`);

const STYLE = `body{font:15px/1.45 sans-serif;max-width:70em;margin:2em auto;padding:0 1em;color:#222;background:#fff}
table{border-collapse:collapse;margin:1em 0;font-variant-numeric:tabular-nums}
th,td{padding:.2em .7em;text-align:right;border-bottom:1px solid #ddd;white-space:nowrap}
th:first-child,td:first-child,th:nth-child(2),td:nth-child(2),td.text{text-align:left}
td.text{white-space:normal}figure{margin:1.5em 0}figcaption{font-weight:bold}svg{max-width:100%;height:auto}.wide{overflow-x:auto}`;

export function htmlOf(r: StudyReport, plots: readonly Plot[]): string {
  const table = (head: readonly string[], rows: readonly (readonly string[])[]): string => [
    '<div class="wide"><table>', `<thead><tr>${head.map((h) => `<th>${escapeHtml(h)}</th>`).join('')}</tr></thead>`, '<tbody>',
    ...rows.map((row) => `<tr>${row.map((c) => `<td>${escapeHtml(c)}</td>`).join('')}</tr>`), '</tbody></table></div>',
  ].join('\n');
  const { head, rows } = summaryTable(r);
  const number = (v: number | null | undefined, digits: number): string => (v == null ? NONE : v.toFixed(digits));
  const tuned = r.cells.some((c) => c.epochs > 0);
  const cells = r.cells.map((c) => [
    c.strategy, labelOf(c), String(c.seed), c.status, ...(tuned ? [number(c.untuned?.accuracy, 2)] : []), number(c.accuracy, 2), number(c.loss, 4), number(c.bits?.weights, 3), number(c.bits?.activations, 3),
    c.weightBytes === null ? NONE : String(c.weightBytes), c.bops === null ? NONE : String(c.bops), c.limit === null || c.used === null ? NONE : `${((100 * c.used) / c.limit).toFixed(1)} %`,
  ]);
  const layers = r.summary.flatMap((s) => {
    const first = r.cells.find((c) => c.strategy === s.strategy && c.budget === s.budget && c.precision === s.precision && c.assignment !== null);
    return first ? [[`${s.strategy} ${labelOf(s)}`, Object.values(first.assignment!.layers).map((l) => l.weights).join(' ')]] : [];
  });
  return `<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width">
<title>${escapeHtml(`Study of ${r.model.name}`)}</title>
<style>
${STYLE}
</style>
</head>
<body>
<h1>${escapeHtml(`Study of ${r.model.name}`)}</h1>
<p>${escapeHtml(about(r))}</p>
${table(head, rows)}
${failuresOf(r).map((f) => `<p>${escapeHtml(f)}</p>\n`).join('')}${plots.map((p) => `<figure>
<figcaption>${escapeHtml(p.caption)}</figcaption>
${inline(p.svg)}
</figure>
`).join('')}<h2>Cells</h2>
${table(['strategy', 'budget', 'seed', 'status', ...(tuned ? ['before fine-tuning, %'] : []), 'accuracy, %', 'loss', 'weight bits', 'activation bits', 'weight bytes', 'BOPs', 'of the budget'], cells)}
<h2>Weight bits by layer</h2>
<p>Of the first seed that has a result; layers in the order of the model.</p>
${table(['setting', 'bits'], layers)}
</body>
</html>
`;
}

/** SVG within HTML needs no namespaces. */
const inline = (svg: string): string => svg.trim().replace(/ xmlns(:xlink)?="[^"]*"/g, '');
