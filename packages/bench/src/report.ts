/** Results as data, as tables, and as docs/benchmarks.md. */
import type { Measurement } from './rounds.js';

/** Times of one layer or model on one engine, in ns. */
export interface Result extends Pick<Measurement, 'best' | 'median'> {
  readonly suite: string;
  /** Layer or model. */
  readonly case: string;
  readonly engine: string;
  /** `f32`, `w2a4` …; `int8` for peers. */
  readonly precision: string;
  /** Multiply–accumulates. */
  readonly macs: number;
}

/** Which time ratios are of: the median over the rounds, or that of the fastest round. */
export type By = 'median' | 'best';

export interface BenchReport {
  readonly date: string;
  readonly command: string;
  readonly machine: { readonly cpu: string; readonly cores: number; readonly platform: string };
  readonly versions: Readonly<Record<string, string>>;
  readonly options: { readonly rounds: number; readonly roundMs: number; readonly clock: 'wall' | 'cpu'; readonly by: By };
  readonly results: readonly Result[];
  readonly skipped: readonly string[];
}

/** What times are divided by, where it was measured. */
const BASELINES = [['onnxruntime-web', 'f32'], ['onnxruntime-web', 'int8'], ['onnxruntime-node', 'f32'], ['onnxruntime-node', 'int8']] as const;
type Baseline = readonly [engine: string, precision: string];

const isOf = ([engine, precision]: Baseline) => (r: Result): boolean => r.engine === engine && r.precision === precision;
const shortName = ([engine, precision]: Baseline): string => `× ${engine.replace('onnxruntime', 'ort')} ${precision}`;

/** Header and rows for the results of one case: times, operations a second (2 a MAC), and how much faster than the baselines. */
export function caseTable(results: readonly Result[], by: By): string[][] {
  const bases = BASELINES.flatMap((b) => results.filter(isOf(b)).map((r) => [shortName(b), r[by]] as const));
  const ms = (ns: number): string => (ns / 1e6).toFixed(3);
  return [
    ['engine', 'bits', 'median ms', 'best ms', 'GOPS', ...bases.map(([name]) => name)],
    ...results.map((r) => [r.engine, r.precision, ms(r.median), ms(r.best), ((2 * r.macs) / r[by]).toFixed(1), ...bases.map(([, t]) => (t / r[by]).toFixed(2))]),
  ];
}

/** How much faster than a baseline, for all cases: a row for each engine and precision. */
export function ratioTable(cases: ReadonlyMap<string, readonly Result[]>, base: Baseline, engines: (engine: string) => boolean, by: By): string[][] {
  const rows = new Map<string, Map<string, number>>();
  for (const [name, results] of cases) {
    const reference = results.find(isOf(base));
    for (const r of results.filter((x) => reference && engines(x.engine))) {
      const key = `${r.engine} ${r.precision}`;
      rows.set(key, (rows.get(key) ?? new Map<string, number>()).set(name, reference![by] / r[by]));
    }
  }
  const names = [...cases.keys()];
  return [['engine', 'bits', ...names], ...[...rows].map(([key, ratios]) => [...key.split(' '), ...names.map((c) => ratios.get(c)?.toFixed(2) ?? '–')])];
}

/** Columns, the first two to the left. */
export function aligned(rows: readonly (readonly string[])[]): string {
  const widths = rows[0].map((_, i) => Math.max(...rows.map((r) => r[i].length)));
  return rows.map((r) => r.map((c, i) => (i < 2 ? c.padEnd(widths[i]) : c.padStart(widths[i]))).join('  ').trimEnd()).join('\n');
}

/** Suites and their cases, in the order of measurement. */
export function grouped(results: readonly Result[]): Map<string, Map<string, Result[]>> {
  const suites = new Map<string, Map<string, Result[]>>();
  for (const r of results) {
    const cases = suites.get(r.suite) ?? new Map<string, Result[]>();
    suites.set(r.suite, cases.set(r.case, [...(cases.get(r.case) ?? []), r]));
  }
  return suites;
}

const SUITE_TEXT: Readonly<Record<string, string>> = {
  layers: 'Whole convolution layers with Relu: input codes to output codes, packing, tables and requantisation included. The time of one layer is '
    + '(t₁₀ − t₂)/8 of networks with ten and with two of it, so that what a run costs besides (copies of inputs and outputs, calls into the '
    + 'engine) cancels, for onnxruntime as for Bitloom. '
    + 'Node runs with `--no-liftoff`: single layers are called too seldom for it to optimise them all on its own.',
  models: 'Whole networks at batch 1, copies of inputs and outputs included. First and last layers have 8 bits, as `bitloom compile` gives them unless '
    + 'told otherwise. '
    + 'ResNet-18 and MobileNetV2 have random weights, batch normalisation folded.',
};

const markdownTable = ([head, ...rows]: readonly (readonly string[])[]): string =>
  [head, head.map((_, i) => (i < 2 ? '---' : '--:')), ...rows].map((r) => `| ${r.join(' | ')} |`).join('\n');

/** docs/benchmarks.md from a run's results. */
export function benchmarksMarkdown(r: BenchReport): string {
  const { by, clock, rounds, roundMs } = r.options;
  const sections = [...grouped(r.results)].flatMap(([suite, cases]) => {
    const ratios = (title: string, base: Baseline, engines: (e: string) => boolean): string[] => {
      const table = ratioTable(cases, base, engines, by);
      return table.length > 1 ? [title, markdownTable(table)] : [];
    };
    return [
      `## ${suite[0].toUpperCase()}${suite.slice(1)}`,
      SUITE_TEXT[suite] ?? '',
      ...ratios('Times as fast as onnxruntime-web f32:', ['onnxruntime-web', 'f32'], (e) => e.startsWith('wasm') || e === 'onnxruntime-web'),
      ...ratios('Times as fast as onnxruntime-web int8:', ['onnxruntime-web', 'int8'], (e) => e.startsWith('wasm')),
      ...ratios('Times as fast as onnxruntime-node int8:', ['onnxruntime-node', 'int8'], (e) => e.startsWith('c') || e === 'onnxruntime-node'),
      ...[...cases].flatMap(([name, results]) => [`### ${name}`, markdownTable(caseTable(results, by))]),
    ];
  });
  return [
    '<!-- Generated by `npm run bench -- --docs` from benchmarks.json; do not edit. -->',
    '# Benchmarks',
    `Measured on ${r.date} by \`${r.command}\`, one thread each. Contenders take turns, ${rounds} rounds of at least `
      + `${roundMs} ms each; times are medians over the rounds, and of the fastest round. `
      + `Ratios and GOPS (two operations a multiply–accumulate) are of ${by === 'median' ? 'medians' : 'the fastest rounds'}.`
      + (clock === 'cpu' ? ' Counted is the time that a contender computes.' : ''),
    'onnxruntime runs with one thread and all graph optimisations; `int8` is the same network at W8A8 in QDQ form, written by `bitloom compile --emit-qdq`.',
    markdownTable([
      ['', ''], ['processor', `${r.machine.cpu}, ${r.machine.cores} cores seen`], ['platform', r.machine.platform], ...Object.entries(r.versions),
    ]),
    ...sections.filter(Boolean),
    ...(r.skipped.length > 0 ? ['## Not measured', r.skipped.map((s) => `- ${s}`).join('\n')] : []),
  ].join('\n\n') + '\n';
}
