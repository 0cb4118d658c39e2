/** Reports for people. */
import type { BundleBenchReport } from '@bitloom/bench';
import type { BundleReport, BudgetUse, CompileReport, EvalReport, FinetuneReport, ModelReport, SearchReport, TuneReport, VerifyReport } from '@bitloom/compiler';
import { type StudyReport, failuresOf, summaryTable } from '@bitloom/study';
import type { Tensor } from '@bitloom/tensor';

/** Columns padded to their widest cell; columns of numbers to the right. */
export function table(head: readonly string[], rows: readonly (readonly (string | number)[])[]): string {
  const cells = [head, ...rows].map((r) => r.map(String));
  const width = head.map((_, c) => Math.max(...cells.map((r) => r[c].length)));
  const right = head.map((_, c) => rows.length > 0 && rows.every((r) => typeof r[c] === 'number' || /^~?[\d.,-]+( ?[a-zA-Zµ%]+)?$/.test(r[c] as string)));
  return cells.map((r) => r.map((t, c) => (right[c] ? t.padStart(width[c]) : t.padEnd(width[c]))).join('  ').trimEnd()).join('\n');
}

const UNITS = ['', 'k', 'M', 'G', 'T', 'P'];
/** Four significant digits with a decimal prefix. */
export function si(n: number, unit = ''): string {
  let i = 0;
  for (; Math.abs(n) >= 1000 && i < UNITS.length - 1; i++) n /= 1000;
  const text = i === 0 ? String(n) : n.toPrecision(4);
  return `${text} ${UNITS[i]}${unit}`.trim();
}
export const bytes = (n: number): string => si(n, 'B');
/** A time in ns, four significant digits. */
export function duration(ns: number): string {
  const [unit, size] = ns < 1e3 ? ['ns', 1] as const : ns < 1e6 ? ['µs', 1e3] as const : ns < 1e9 ? ['ms', 1e6] as const : ['s', 1e9] as const;
  return `${Number((ns / size).toPrecision(4))} ${unit}`;
}
const shape = (s: readonly number[]): string => (s.length === 0 ? 'scalar' : s.join('×'));
const bits = (b: number): string => (b === 32 ? 'f32' : String(b));
const fixed = (n: number | null, digits: number): string => (n === null || !Number.isFinite(n) ? '–' : n.toFixed(digits));
const precise = (n: number | null): string => (n === null || !Number.isFinite(n) ? '–' : n.toPrecision(4));
const lines = (pairs: readonly (readonly [string, string] | null)[]): string => {
  const all = pairs.filter((p) => p !== null);
  const width = Math.max(...all.map(([k]) => k.length));
  return all.map(([k, v]) => `${k.padEnd(width)}  ${v}`).join('\n');
};
const budgetLine = (b: BudgetUse | null): readonly [string, string] | null => b && ['budget', `${b.text}: ${b.shown}, ${((100 * b.used) / b.limit).toFixed(1)} % of it`];
const searchLine = (s: { strategy: string; objective: number | null; lowerBound: number | null; gap: number | null; seconds: number }): readonly [string, string] => [
  'search',
  `${s.strategy}, ${s.seconds.toFixed(1)} s${s.objective === null ? '' : `, predicted loss ${precise(s.objective)}, LP bound ${precise(s.lowerBound)}, gap ${s.gap === null ? '–' : s.gap === 0 ? '0 (proven optimal)' : `${(100 * s.gap).toFixed(2)} %`}`}`,
];
/** Times that were not measured on the call itself are marked. */
const time = (l: { ns: number; measured: boolean }): string => `${l.measured ? '' : '~'}${duration(l.ns)}`;
const arenaLine = (b: { arena: number; live: number }): readonly [string, string] =>
  ['arena', `${bytes(b.arena)} (largest live set ${bytes(b.live)}${b.live ? `, ratio ${(b.arena / b.live).toFixed(2)}` : ''})`];
const latencyLine = (r: { latency: Readonly<Record<string, number>>; layers: readonly { measured: boolean }[] }): readonly [string, string] => [
  'latency', `${Object.entries(r.latency).map(([t, ns]) => `${t} ${duration(ns)}`).join(', ')} (predicted${r.layers.every((l) => l.measured) ? '' : '; ~ not measured, see bitloom tune'})`,
];
const averages = (b: { weights: number; activations: number }): readonly [string, string] => ['bits', `weights ${b.weights.toFixed(2)}, activations ${b.activations.toFixed(2)} (averages over parameters, over MACs)`];
const warned = (warnings: readonly string[]): string => warnings.map((w) => `\nWARNING: ${w}`).join('');

export function compileText(r: CompileReport): string {
  return [
    table(['layer', 'op', 'weights', 'activations', `kernel (${r.counted})`, 'time', 'runner-up', '', 'params', 'MACs'], r.layers.map((l) => [
      l.name, l.op, bits(l.weightBits), bits(l.activationBits), l.kernel, time(l), l.runnerUp ?? '', l.runnerUpNs === null ? '' : duration(l.runnerUpNs), si(l.params), si(l.macs),
    ])),
    '',
    lines([
      averages(r.bits),
      ['weights', `${bytes(r.bytes.weights)} (float ${bytes(r.float.weightBytes)}, ${r.float.weightBytes === 0 ? '–' : `${((100 * r.bytes.weights) / r.float.weightBytes).toFixed(1)} %`})`],
      ['code', `${bytes(r.bytes.code)} (${r.targets[0]})`],
      arenaLine(r.bytes),
      latencyLine(r),
      ['cost', `${si(r.cost.bops, 'BOPs')}`],
      budgetLine(r.budget),
      searchLine(r.search),
      r.bundle === null ? ['bundle', 'not written: give -o FOLDER'] : ['bundle', `${r.bundle} (${r.targets.join(', ')})`],
    ]) + warned(r.warnings),
  ].join('\n');
}

export function finetuneText(r: FinetuneReport): string {
  const share = (v: number | null): string => (v === null ? '–' : `${(100 * v).toFixed(2)} %`);
  return [
    table(['epoch', 'loss', 'right in training', 'right on --eval'], r.epochs.map((e, i) => [i + 1, e.loss.toFixed(4), share(e.accuracy), share(e.evaluated)])),
    '',
    lines([averages(r.bits), ['time', `${r.seconds.toFixed(0)} s`], r.model === null ? null : ['model', r.model]]),
  ].join('\n');
}

export function studyText(r: StudyReport, folder: string): string {
  const { head, rows } = summaryTable(r);
  return [table(head, rows), '', ...failuresOf(r), lines([['test samples', String(r.eval.samples)], ['study', `${folder} (study.html, .md, .csv, .json, plots)`]])].join('\n');
}

export function tuneText(r: TuneReport): string {
  const fastest = Math.min(...r.predictions.map((p) => p.ns));
  return [
    ...(r.predictions.length ? [
      table(['target', 'weights', 'activations', 'latency', ''], r.predictions.map((p) => [p.target, bits(p.weightBits), bits(p.activationBits), duration(p.ns), `${(p.ns / fastest).toFixed(2)}×`])),
      '',
    ] : []),
    lines([
      ['machine', r.machine], ['timed', `${r.timed} kernels and nests in ${r.seconds.toFixed(0)} s, ${r.known} known before${r.left ? `, ${r.left} left` : ''}`],
      ['costs', r.costs ?? 'not written: give -o FILE'],
    ]),
  ].join('\n');
}

export function searchText(r: SearchReport): string {
  // What was chosen may lie between the points of the front.
  const chosen = r.budget && r.objective !== null ? { cost: r.budget.used, loss: r.objective, weightBits: r.bits.weights, activationBits: r.bits.activations } : null;
  const points = [...r.pareto.filter((p) => p.cost !== chosen?.cost), ...(chosen ? [chosen] : [])].sort((a, b) => a.cost - b.cost);
  const front = points.map((p) => [si(Math.round(p.cost)), precise(p.loss), fixed(p.weightBits, 2), fixed(p.activationBits, 2), p === chosen ? '← chosen' : '']);
  return [
    table(['layer', 'op', 'weights', 'activations', 'params', 'MACs'], r.layers.map((l) => [l.name, l.op, bits(l.weightBits), bits(l.activationBits), si(l.params), si(l.macs)])),
    '',
    `Pareto front${r.budget ? ` (cost in ${{ size: 'bytes', bops: 'BOPs', bits: 'weight bits', latency: 'ns' }[r.budget.kind]})` : ''}`,
    table(['cost', 'loss', 'weights', 'activations', ''], thin(front)),
    '',
    ...traceText(r),
    lines([averages(r.bits), budgetLine(r.budget), searchLine(r), ['assignment', r.assignment ?? 'not written: give -o FILE']]) + warned(r.warnings),
  ].join('\n');
}

/** Epochs of a search by training, and what taking bits from the mixture did to the loss. */
function traceText({ trace, budget }: SearchReport): string[] {
  if (trace === null) return [];
  return [
    table(['epoch', 'loss', 'validation', 'cost', 'undecided'], trace.epochs.map((e, i) => [
      i + 1, fixed(e.loss, 4), fixed(e.validationLoss, 4), `${fixed((100 * e.cost) / budget!.limit, 1)} %`, `${fixed(e.entropy, 2)} bits`,
    ])),
    '',
    `validation loss ${fixed(trace.mixedLoss, 4)} of the mixture, ${fixed(trace.chosenLoss, 4)} of the chosen bits`,
    '',
  ];
}

const FRONT_ROWS = 24;
/** At most {@link FRONT_ROWS} rows, evenly spread; the chosen one stays. */
function thin<T extends readonly string[]>(rows: readonly T[]): T[] {
  const step = Math.ceil(rows.length / FRONT_ROWS);
  return rows.filter((r, i) => i % step === 0 || i === rows.length - 1 || r[r.length - 1] !== '');
}

export const evalText = (r: EvalReport): string => lines([['samples', String(r.samples)], ['top-1', r.top1 === null ? 'unknown (no labels)' : `${r.top1.toFixed(2)} %`], ['loss', r.loss === null ? 'unknown (no labels)' : `${fixed(r.loss, 4)} nats`], r.agreement === null ? null : ['agreement', `${r.agreement.toFixed(2)} %`]]);

export function verifyText(r: VerifyReport): string {
  const m = r.firstMismatch;
  return lines([
    ['compared', r.backends.join(' = ')],
    ['vectors', String(r.vectors)],
    ['layers', String(r.layers)],
    ['mismatches', String(r.mismatches)],
    m && ['first', `vector ${m.vector}, ${m.backend}, ${m.layer === null ? 'output' : `layer ${m.layer}`} ${m.node}, element ${m.index}`],
    ...r.skipped.map((s) => ['skipped', s] as const),
  ]);
}

/** Engines with their times and what others are to them; then the calls of each of ours. */
export function benchText(r: BundleBenchReport): string {
  const others = r.engines.filter((e) => e.precision !== 'bundle');
  const name = (e: { engine: string; detail: string | null }): string => `${e.engine}${e.detail === null ? '' : ` (${e.detail})`}`;
  const rival = (e: { engine: string; detail: string | null }): string => (e.engine.startsWith('onnxruntime') ? e.engine.replace('onnxruntime', 'ort') : name(e));
  return [
    table(
      ['engine', 'bits', 'median', 'best', ...others.map((o) => `× ${rival(o)} ${o.precision}`)],
      r.engines.map((e) => [name(e), e.precision, duration(e.median), duration(e.best), ...others.map((o) => (o.median / e.median).toFixed(2))]),
    ),
    ...r.profile.map((p) => [
      '', name(p), table(['call', 'node', 'kernel', 'median', 'min', 'share'], p.calls.map((c) => [c.call, c.node, c.kernel, duration(c.median), duration(c.min), `${(100 * c.share).toFixed(1)} %`])),
    ].join('\n')),
  ].join('\n');
}

const port = (p: { name: string; dtype: string; shape: readonly number[]; scale?: number | null; zeroPoint?: number | null }): string =>
  `${p.name}: ${p.dtype} ${shape(p.shape)}${p.scale == null ? '' : ` (scale ${precise(p.scale)}, zero point ${p.zeroPoint})`}`;

export function inspectText(r: ModelReport | BundleReport): string {
  if (r.kind === 'model') {
    return [
      lines([
        ['model', `${r.name} (opset ${r.opset})`], ['sha256', r.sha256], ...r.inputs.map((p) => ['input', port(p)] as const), ...r.outputs.map((p) => ['output', port(p)] as const),
        ['parameters', `${si(r.parameters)} (${bytes(4 * r.parameters)} as f32)`], ['MACs', si(r.macs)], ['ops', Object.entries(r.ops).map(([op, n]) => `${n} ${op}`).join(', ')],
      ]),
      '',
      table(['layer', 'op', 'input', 'weights', 'output', 'params', 'MACs'], r.layers.map((l) => [l.name, l.op, shape(l.input), shape(l.weights), shape(l.output), si(l.params), si(l.macs)])),
    ].join('\n');
  }
  return [
    lines([
      ['bundle', `${r.name} (${r.generator.name} ${r.generator.version})`], ['model', r.model.sha256], ['targets', r.targets.join(', ')],
      ...r.inputs.map((p) => ['input', port(p)] as const), ...r.outputs.map((p) => ['output', port(p)] as const),
      averages(r.bits), ['weights', `${bytes(r.bytes.weights)} (float ${bytes(r.bytes.floatWeights)})`], ['code', bytes(r.bytes.code)], arenaLine(r.bytes), latencyLine({ latency: r.latency, layers: [] }), ['cost', si(r.cost.bops, 'BOPs')],
      ['search', r.search.strategy], ['calibration', r.calibration ? `${r.calibration.method}, ${r.calibration.samples} samples of ${r.calibration.data === 'synthetic' ? 'random numbers: accuracy unknown' : 'data'}` : 'none'],
      ['preprocessing', JSON.stringify(r.preprocessing)],
    ]),
    '',
    table(['layer', 'op', 'weights', 'activations', 'kernel', 'bytes', 'params', 'MACs'], r.layers.map((l) => [l.name, l.op, bits(l.weightBits), bits(l.activationBits), [...new Set(Object.values(l.kernel))].join('/'), bytes(l.bytes), si(l.params), si(l.macs)])),
    '',
    table(['file', 'bytes'], Object.entries(r.files)),
  ].join('\n');
}

const VALUES = 10;
export const runText = (outputs: ReadonlyMap<string, Tensor>): string =>
  [...outputs].map(([name, t]) => `${name}: ${t.dtype} ${shape(t.shape)}\n  ${Array.from(t.data.subarray(0, VALUES) as Iterable<number | bigint>, (v) => (t.dtype === 'f32' ? String(Number((v as number).toPrecision(7))) : String(v))).join(', ')}${t.data.length > VALUES ? ', …' : ''}`).join('\n');
