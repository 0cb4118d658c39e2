/** Measures what calls take on this machine, for a model or for typical shapes. */
import { readFile } from 'node:fs/promises';
import { supports, writeFileAtomic } from '@bitloom/bundle';
import type { Progress } from '@bitloom/calibrate';
import {
  CostTable, type Plan, convKey, costModel, costTableText, fitTable, nestFeatures, nestKey, parseCostTable,
} from '@bitloom/codegen';
import { fail } from '@bitloom/diagnostics';
import { type ConvParams, type KernelCall, type Nest, type Program, hasFewCodes } from '@bitloom/kernel-spec';
import type { Bits } from '@bitloom/numerics';
import { lowerGraph } from '@bitloom/transforms';
import { NO_RELAXED } from './bundle-run.js';
import { parseConfig, tuneConfigSchema, type TuneConfig } from './config.js';
import { nominalProgram, planTime } from './latency.js';
import { loadModel } from './model.js';
import type { TuneOptions } from './options.js';
import type { Hooks } from './pipeline.js';
import { typicalProgram } from './shapes.js';
import { type Backend, type Flavour, contenders, costsOf, flavoursOf, planOf } from './targets.js';
import { type Between, type Rounds, type Times, cIsas, cMachine, timeC, timeWasm, wasmMachine } from './timing.js';
import { VERSION } from './version.js';

/** Same bits everywhere; null: f32. */
type Uniform = readonly [Bits, Bits] | null;

export interface TuneReport {
  /** File written; null without an output. */
  readonly costs: string | null;
  readonly machine: string;
  /** What was timed: the target, for C with the instruction set. */
  readonly targets: readonly string[];
  /** Times (of a kernel at a shape and bits, or of a loop nest) measured now, known before, and left for another run. */
  readonly timed: number;
  readonly known: number;
  readonly left: number;
  readonly seconds: number;
  /** Predicted ns of a run of the model with the same bits everywhere (32: f32); empty without a model. */
  readonly predictions: readonly { readonly target: string; readonly weightBits: number; readonly activationBits: number; readonly ns: number }[];
}

/** Stands for {@link timeWasm} or {@link timeC}. */
export type Timer = (plans: readonly Plan[], rounds: Rounds, between: Between) => Promise<Times>;

/** Of each bit pair. */
const ROUNDS = { seconds: 0.5, least: 5, most: 60 };
/**
 * Typical layers have nothing to do with each other, and all of them are more than a cache holds. In a network the input of a layer was just
 * written, and weights, if few, are still there from the run before.
 */
const FEW_WEIGHTS = 2 ** 16;
const cached = ({ family, params }: KernelCall): boolean => family === 'conv' && (params.outC * params.kH * params.kW * params.inC) / params.groups <= FEW_WEIGHTS;
/** Bit pairs that are timed in turns, so that they can be compared, as far as memory allows. */
const PAIRS_AT_ONCE = 16;
const BYTES_AT_ONCE = 2 ** 28;

/**
 * Times what the table in `output` does not know yet, and writes it after each bit pair: whatever ends the process, the next run goes on.
 * @param path a model; null: typical shapes, to which costs of any model are fitted
 * @param timer replaces the clock, in tests
 * @throws E503 when the table is of another machine, E603 where the target cannot be run here
 */
export async function tune(path: string | null, config: TuneConfig = {}, hooks: Hooks = {}, timer: Timer | null = null): Promise<TuneReport> {
  const started = performance.now();
  const o = parseConfig(tuneConfigSchema, config);
  const progress: Progress = hooks.progress ?? (() => {});
  const all = flavoursOf(o.target);
  const { backend } = all[0];
  const machine = `${backend === 'c' ? await cMachine() : wasmMachine()}, Bitloom ${VERSION}`; // whose kernels they are
  const table = await openTable(o, backend, machine);
  const flavours = backend === 'c' ? await chosenIsas(all, o.isa) : all.filter((f) => f.isa !== 'wasm-relaxed' || supports(['relaxed-simd']));
  if (flavours.length === 0) fail('E603', NO_RELAXED);
  if (backend !== 'c' && flavours.length < all.length) hooks.warn?.(`relaxed SIMD is not timed: ${NO_RELAXED}`);
  const time = timer ?? (backend === 'c' ? timeC : timeWasm);

  const graph = path === null ? null : (await loadModel(path, o.define, o.batch)).graph;
  const programOf = (bits: Uniform): Program => (graph === null ? typicalProgram(bits) : bits === null ? lowerGraph(graph) : nominalProgram(graph, ...bits));
  const work = uniforms(o, graph === null).flatMap((bits) => flavours.map((flavour) => ({ flavour, bits })));

  let [timed, known, left] = [0, 0, 0];
  const seen = new Set<string>();
  const features = new Map<string, readonly number[]>();
  let batch: { readonly wanted: readonly Wanted[]; readonly plans: readonly Plan[] }[] = [];
  const flush = async (done: number): Promise<void> => {
    if (batch.length === 0) return;
    const plans = batch.flatMap((b) => b.plans);
    const times = await time(plans, { ...ROUNDS, seconds: ROUNDS.seconds * batch.length, cached: (c) => graph === null && cached(c) }, () => progress('tune', done, work.length));
    const found = measured(plans, times);
    for (const { wanted } of batch) for (const t of wanted) t.set(table, found.get(t.id)!);
    batch = [];
    if (o.output !== null) await writeFileAtomic(o.output, costTableText(table));
  };
  for (const [done, { flavour, bits }] of work.entries()) {
    progress('tune', done, work.length);
    const program = withManyCodes(programOf(bits));
    for (const n of nestsOf(program)) features.set(nestKey(n), nestFeatures(n));
    const unseen = timesOf(program, flavour).filter((t) => !seen.has(t.id));
    unseen.forEach((t) => seen.add(t.id));
    // All kernels of a call that lacks one: they are compared with each other.
    const lacking = new Set(unseen.filter((t) => o.again || t.of(table)?.has(t.key) !== true).map((t) => t.key));
    const wanted = unseen.filter((t) => lacking.has(t.key));
    known += unseen.length - wanted.length;
    if (wanted.length === 0) continue;
    if (o.maxSeconds !== null && performance.now() - started > o.maxSeconds * 1000) {
      left += wanted.length;
      continue;
    }
    const plans = lanes(program, flavour, new Set(wanted.map((t) => t.id)));
    if (batch.length === PAIRS_AT_ONCE || bytesOf(batch.flatMap((b) => b.plans)) + bytesOf(plans) > BYTES_AT_ONCE) await flush(done);
    batch.push({ wanted, plans });
    timed += wanted.length;
  }
  await flush(work.length);
  fitTable(table, backend, new Set(flavours.flatMap((f) => f.variants)), features);
  if (o.output !== null) await writeFileAtomic(o.output, costTableText(table));
  const costs = costsOf(backend, table);
  const predictions = graph === null ? [] : work.map(({ flavour, bits }) =>
    ({ target: flavour.label, weightBits: bits?.[0] ?? 32, activationBits: bits?.[1] ?? 32, ns: planTime(planOf(programOf(bits), flavour, costs), costs) }));
  return { costs: o.output, machine, targets: flavours.map((f) => f.label), timed, known, left, seconds: (performance.now() - started) / 1000, predictions };
}

/** The table to go on with. @throws E503 */
async function openTable(o: TuneOptions & { output: string | null }, backend: Backend, machine: string): Promise<CostTable> {
  const text = o.output === null ? null : await readFile(o.output, 'utf8').catch((cause: NodeJS.ErrnoException) =>
    (cause.code === 'ENOENT' ? null : fail('E704', 'cost table cannot be read', { node: o.output!, found: cause.code }, cause)));
  const table = text === null ? new CostTable() : parseCostTable(text, o.output!);
  const before = table.machine.get(backend);
  if (before !== undefined && before !== machine) {
    if (!o.again) {
      fail('E503', 'the cost table was made on another machine', { node: o.output!, found: before, expected: machine, remedy: 'write to another file, or measure --again' });
    }
    for (const times of [table.convs, table.nests, table.fits]) {
      for (const id of [...times.keys()]) if (id === backend || id.startsWith(`${backend} `)) times.delete(id);
    }
  }
  table.machine.set(backend, machine);
  return table;
}

/** By default the best that this machine has. @throws E603 */
async function chosenIsas(all: readonly Flavour[], asked: readonly string[]): Promise<readonly Flavour[]> {
  const here = await cIsas();
  for (const isa of asked) if (!here.includes(isa)) fail('E603', 'this machine cannot run the code to be timed', { node: isa, found: here.join(', ') });
  const wanted = asked.length > 0 ? asked : [here[here.length - 1]];
  return all.filter((f) => wanted.includes(f.isa));
}

const ALL_BITS: readonly Bits[] = [1, 2, 3, 4, 5, 6, 7, 8];

/** f32, and every pair of the candidates, 8 (pins, and what budgets are shares of) among them. */
function uniforms(o: TuneOptions, typical: boolean): Uniform[] {
  const withEight = (bits: readonly Bits[]): Bits[] => [...new Set<Bits>([8, ...bits])];
  const weights = withEight(o.weights ?? (typical ? ALL_BITS : ALL_BITS.slice(1)));
  const activations = withEight(o.activations ?? (typical ? ALL_BITS : []));
  return [null, ...activations.flatMap((a) => weights.map((w): Uniform => [w, a]))];
}

/** Beside each convolution of few codes one of many, as where the next layer has more bits. */
const withManyCodes = (p: Program): Program =>
  ({ ...p, calls: p.calls.flatMap((c) => (c.family === 'conv' && hasFewCodes(c.params) ? [c, { ...c, params: { ...c.params, hi: 255 } }] : [c])) });

const nestsOf = (p: Program): Nest[] => p.calls.flatMap((c) => (c.family === 'nest' ? [c.params] : []));
const convsOf = (p: Program): ConvParams[] => p.calls.flatMap((c) => (c.family === 'conv' ? [c.params] : []));

const convId = (variant: string, key: string): string => `${variant} ${key}`;

/** A time that a table may hold. */
interface Wanted {
  readonly id: string;
  readonly key: string;
  of(t: CostTable): ReadonlyMap<string, number> | undefined;
  set(t: CostTable, ns: number): void;
}

/** Each of a program's once. */
function timesOf(program: Program, f: Flavour): Wanted[] {
  const { backend } = f;
  const found = new Map<string, Wanted>();
  for (const [key, p] of new Map(convsOf(program).map((c) => [convKey(c), c]))) {
    for (const { name } of contenders(f, p)) {
      const id = convId(name, key);
      found.set(id, { id, key, of: (t) => t.convs.get(`${backend} ${name}`), set: (t, ns) => t.setConv(backend, name, key, ns) });
    }
  }
  for (const n of nestsOf(program)) {
    const key = nestKey(n);
    found.set(key, { id: key, key, of: (t) => t.nests.get(backend), set: (t, ns) => t.setNest(backend, key, ns) });
  }
  return [...found.values()];
}

const bytesOf = (plans: readonly Plan[]): number => plans.reduce((s, p) => s + p.weights.length + p.preparedBytes + p.arenaBytes, 0);

/** As many plans as the call with the most wanted kernels needs, so that each of each call is in one of them; the cheapest where none is wanted. */
function lanes(program: Program, f: Flavour, wanted: ReadonlySet<string>): Plan[] {
  const kernels = new Map(convsOf(program).map((p) => {
    const key = convKey(p);
    return [key, f.variants.filter((v) => v.accepts(p) && wanted.has(convId(v.name, key)))];
  }));
  const count = Math.max(1, ...[...kernels.values()].map((k) => k.length));
  const costs = costModel(f.backend, []); // known times leave other kernels out
  return Array.from({ length: count }, (_, lane) => planOf(program, f, costs, (v, p) => {
    const all = kernels.get(convKey(p))!;
    return all.length === 0 || v === all[Math.min(lane, all.length - 1)];
  }));
}

/** Mean over the calls with the same id, each at its place in the network. */
function measured(plans: readonly Plan[], times: Times): Map<string, number> {
  const sums = new Map<string, { ns: number; count: number }>();
  plans.forEach((plan, lane) => plan.calls.forEach(({ call, variant }, i) => {
    const id = call.family === 'conv' ? convId(variant!.name, convKey(call.params)) : nestKey(call.params);
    const sum = sums.get(id) ?? { ns: 0, count: 0 };
    sums.set(id, { ns: sum.ns + times[lane][i], count: sum.count + 1 });
  }));
  return new Map([...sums].map(([id, { ns, count }]) => [id, Number((ns / count).toPrecision(6))]));
}
