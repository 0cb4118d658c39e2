import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { type BenchReport, type Result, aligned, benchmarksMarkdown, caseTable, grouped, ratioTable } from './report.js';

const at = (engine: string, precision: string, median: number, name = 'net'): Result =>
  ({ suite: 'models', case: name, engine, precision, macs: 5e6, median, best: median / 2 });
const RESULTS = [
  at('wasm', 'w2a2', 1e6), at('onnxruntime-web', 'f32', 8e6), at('onnxruntime-web', 'int8', 4e6),
  at('c', 'w2a2', 5e5, 'other'), at('onnxruntime-node', 'int8', 1e6, 'other'),
];

it('rows hold times, operations a second and ratios over the baselines that were measured', () => {
  expect(caseTable(RESULTS.slice(0, 3), 'median')).toEqual([
    ['engine', 'bits', 'median ms', 'best ms', 'GOPS', '× ort-web f32', '× ort-web int8'],
    ['wasm', 'w2a2', '1.000', '0.500', '10.0', '8.00', '4.00'],
    ['onnxruntime-web', 'f32', '8.000', '4.000', '1.3', '1.00', '0.50'],
    ['onnxruntime-web', 'int8', '4.000', '2.000', '2.5', '2.00', '1.00'],
  ]);
  expect(caseTable(RESULTS.slice(0, 1), 'best')[1][4]).toBe('20.0');
  expect(aligned([['a', 'b', 'c'], ['long', 'x', '12']])).toBe('a     b   c\nlong  x  12');
});

it('ratios over all cases leave out what was not measured', () => {
  const cases = grouped(RESULTS).get('models')!;
  const head = ['engine', 'bits', 'net', 'other'];
  expect(ratioTable(cases, ['onnxruntime-web', 'f32'], (e) => e === 'wasm', 'median')).toEqual([head, ['wasm', 'w2a2', '8.00', '–']]);
  expect(ratioTable(cases, ['onnxruntime-node', 'int8'], (e) => e === 'c', 'best')).toEqual([head, ['c', 'w2a2', '–', '2.00']]);
});

it('the page names machine, versions, command and what was left out', () => {
  const page = benchmarksMarkdown({
    date: '2026-01-02', command: 'npm run bench -- models', machine: { cpu: 'A CPU', cores: 4, platform: 'linux x64' }, versions: { node: 'v24.1.0' },
    options: { rounds: 9, roundMs: 20, clock: 'wall', by: 'median' }, results: RESULTS, skipped: ['resnet20-32: no data'],
  });
  const wanted = ['2026-01-02', '`npm run bench -- models`', 'A CPU, 4 cores', '| node | v24.1.0 |', '## Models', '### net', '| wasm | w2a2 | 8.00 | – |', '- resnet20-32: no data'];
  for (const text of wanted) expect(page).toContain(text);
});

const docs = fileURLToPath(new URL('../../../docs/', import.meta.url));
it.skipIf(!existsSync(`${docs}benchmarks.json`))('docs/benchmarks.md is made from benchmarks.json', () => {
  const report = JSON.parse(readFileSync(`${docs}benchmarks.json`, 'utf8')) as BenchReport;
  expect(readFileSync(`${docs}benchmarks.md`, 'utf8'), 'stale: npm run bench -- --from docs/benchmarks.json --docs').toBe(benchmarksMarkdown(report));
});
