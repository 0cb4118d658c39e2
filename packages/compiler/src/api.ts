/** The programmatic API: what the command line's verbs do, as functions over paths and plain options. */
import { readFile, rm } from 'node:fs/promises';
import { assertReplaceable, openBundle, writeFileAtomic, writeFolder } from '@bitloom/bundle';
import { type DataSource, batchSize, batches, openData, subset, syntheticSource } from '@bitloom/data';
import type { CostTable } from '@bitloom/codegen';
import { fail } from '@bitloom/diagnostics';
import { type Graph, type Phase, printGraph, valueOf } from '@bitloom/ir';
import { type TensorMap, runProgram } from '@bitloom/kernel-spec';
import {
  type BitChoice, type BudgetKind, type ParetoPoint, type SearchResult, type SearchTrace, averageBits, choiceCost, inputBitsOf, parseBudget, parsePin, showCost, writeAssignment,
} from '@bitloom/search';
import { exportQdq } from '@bitloom/onnx';
import { type Tensor, allocate, isFloat, readNpy, readNpz, reshape, sameShape, tensor } from '@bitloom/tensor';
import { quantizable } from '@bitloom/transforms';
import { buildBundle, wasmTargetOf } from './build.js';
import { cRunner, referenceProgram, wasmRunner } from './bundle-run.js';
import { type CompileConfig, type SearchConfig, compileConfigSchema, parseConfig, searchConfigSchema } from './config.js';
import { fileStore } from './finetune.js';
import { uniformTime } from './latency.js';
import { type LoadedModel, inputSpecs, loadModel } from './model.js';
import { type CompileOptions, type SearchOptions, type TargetName, parsePrecision } from './options.js';
import { type Hooks, compileToProgram } from './pipeline.js';
import type { KernelReport, LayerReport, PortReport } from './report.js';
import { budgetOf, chosenStrategy, observe, readAssignmentFile, search as runSearch, searchProblem } from './search.js';
import { costsOf, countedFlavour, readCosts } from './targets.js';

/** Steps after which `Hooks.afterPass` sees the graph, in order. */
export const PASSES = ['import', 'simplify', 'fuse-activation', 'streams', 'equalize', 'candidates', 'chosen', 'calibrated'] as const;

/** How a budget was met: `limit` and `used` in bytes (size), BOPs (bops), weight bits (bits) or ns (latency). */
export interface BudgetUse {
  readonly text: string;
  readonly kind: BudgetKind;
  readonly limit: number;
  readonly used: number;
  /** `used` in the words of the budget. */
  readonly shown: string;
}

export interface CompileReport {
  /** Folder written; null without an output. */
  readonly bundle: string | null;
  /** ONNX file written in QDQ form; null without one. */
  readonly qdq: string | null;
  readonly targets: readonly TargetName[];
  readonly float: { readonly weightBytes: number };
  /** `live`: the largest set of buffers alive at one time. */
  readonly bytes: { readonly weights: number; readonly code: number; readonly arena: number; readonly live: number };
  /** Predicted ns of a run, by target and instruction set. */
  readonly latency: Readonly<Record<string, number>>;
  /** Entry of `latency` that `layers` and latency budgets are of: of the first target, the best instruction set that `costs` has times of. */
  readonly counted: string;
  readonly bits: { readonly weights: number; readonly activations: number };
  readonly cost: { readonly bops: number };
  readonly search: Pick<SearchReport, 'strategy' | 'objective' | 'lowerBound' | 'gap' | 'seconds'>;
  readonly layers: readonly LayerReport[];
  readonly budget: BudgetUse | null;
  /** `synthetic` when no data was given; null where nothing was calibrated. */
  readonly calibration: { readonly data: string; readonly samples: number; readonly method: string } | null;
  readonly warnings: readonly string[];
}

/** Samples recorded as self-test vectors. */
const VECTORS = 3;

/**
 * Compiles an ONNX file to a bundle.
 * @param config see {@link compileConfigSchema}; with `output` the bundle is written there, as a whole or not at all
 * @throws any coded error of the steps
 */
export async function compile(path: string, config: CompileConfig = {}, hooks: Hooks = {}): Promise<CompileReport> {
  const { output, emitQdq, ...o } = parseConfig(compileConfigSchema, config);
  const assignment = await checked(o);
  const costs = o.costs === null ? null : await readCosts(o.costs);
  if (output !== null) await assertReplaceable(output);
  if (emitQdq !== null && o.precision === 'f32') fail('E103', 'nothing is quantised at f32', { found: '--emit-qdq', remedy: 'leave --precision out, or give w8a8' });
  const warnings: string[] = [];
  const warn = (w: string): void => (warnings.push(w), hooks.warn?.(w));
  const c = await compileToProgram(path, o, { ...hooks, stopAfter: undefined, warn }, assignment, costs);
  const { files, manifest, network, counted } = await buildBundle(c, o, await vectors(c.model, o, c.observed?.data ?? null), costs);
  if (output !== null) await writeFolder(output, files);
  if (emitQdq !== null) await writeFileAtomic(emitQdq, exportQdq(c.graph));
  const { floatWeights, ...bytes } = manifest.bytes;
  warnOfSilence(c.search, warn);
  if (c.choice !== null) warnOfSlowness(c.model.graph, o.target[0], costs, manifest.latency[counted], warn);
  return {
    bundle: output, qdq: emitQdq, targets: o.target, float: { weightBytes: floatWeights }, bytes, latency: manifest.latency, counted,
    bits: network.bits, cost: { bops: network.bops },
    search: { ...manifest.search, seconds: c.searchSeconds }, layers: network.layers, budget: c.choice && budgetUse(c.model.graph, o, c.choice, costs),
    calibration: manifest.calibration, warnings,
  };
}

/** Predictions differ from measured times by more than what is less. */
const SLOWER = 1.05;

/** Fewer bits need not be faster: int8 is the fastest kernel of many small layers, and what is read at other bits than it is kept at must be made. */
function warnOfSlowness(g: Graph, target: TargetName, costs: CostTable | null, ns: number, warn: (w: string) => void): void {
  const flavour = countedFlavour(target, costs);
  const eight = uniformTime(g, 8, flavour, costsOf(flavour.backend, costs));
  if (ns > SLOWER * eight) {
    warn(`predicted to take ${(ns / eight).toFixed(2)} times as long as at 8 bits on ${flavour.label}: these bits save bytes, not time; --budget latency=… finds bits that are fast`);
  }
}

/** The graph after a phase, as text. Nothing is written. */
export async function compileToText(path: string, config: CompileConfig, stopAfter: Phase, hooks: Hooks = {}): Promise<{ phase: Phase; ir: string }> {
  const { output: _, emitQdq: __, ...o } = parseConfig(compileConfigSchema, config);
  const { graph } = await compileToProgram(path, o, { ...hooks, stopAfter }, await checked(o), o.costs === null ? null : await readCosts(o.costs));
  return { phase: graph.phase, ir: printGraph(graph).text };
}

/** Refuses what can be refused before minutes of work; reads the assignment. */
async function checked(o: CompileOptions): Promise<unknown> {
  checkSearch(o);
  wasmTargetOf(o.target);
  if (o.assignment === null) return null;
  if (o.budget !== null || o.precision !== null || o.strategy !== null) {
    fail('E103', 'an assignment fixes the bits', { found: '--assignment with --budget, --precision or --strategy', remedy: 'give one of them' });
  }
  return readAssignmentFile(o.assignment);
}

function checkSearch(o: SearchOptions): void {
  chosenStrategy(o);
  // Only the syntax: without layers the graph is not looked at.
  if (o.budget !== null) parseBudget(o.budget, null as never, { layers: [], groups: [] });
  o.pin.forEach(parsePin);
}

/** A search that sees no difference between bit-widths looks perfect, and is blind. */
function warnOfSilence(found: SearchResult | null, warn: (w: string) => void): void {
  if (found?.objective === 0 && found.choice.weights.size > 0 && found.pareto.every((p) => p.loss === 0)) {
    warn('all sensitivities are 0: on this data the loss does not depend on the weights, and the bits mean nothing');
  }
}

function budgetUse(g: Graph, o: SearchOptions, choice: BitChoice, costs: CostTable | null): BudgetUse | null {
  const budget = budgetOf(g, o, costs);
  if (budget === null) return null;
  const sites = quantizable(g);
  const used = choiceCost({ graph: g, ...sites, budget }, choice);
  return { text: budget.text, kind: budget.kind, limit: budget.limit, used, shown: showCost(budget.kind, used, sites.layers) };
}

/** Inputs for the recorded vectors: the first calibration samples, or random ones. */
async function vectors(m: LoadedModel, o: CompileOptions, data: DataSource | null): Promise<TensorMap[]> {
  const specs = inputSpecs(m.graph);
  const real = data !== null && data.kind !== 'synthetic' ? data : null;
  const given = real ?? (o.calib ? subset(await openData(o.calib, specs, o.preprocessing), o.samples, o.seed) : null);
  const batch = batchSize(specs);
  const source = given ?? syntheticSource(specs, VECTORS * batch, o.seed);
  const found: TensorMap[] = [];
  const indices = Array.from({ length: VECTORS * batch }, (_, i) => i % source.size);
  for await (const b of batches(source, batch, indices)) found.push(new Map(m.graph.inputs.map((id) => {
    const { name, type } = valueOf(m.graph, id);
    return [name, reshape(b.inputs.get(name)!, type.shape)];
  })));
  return found;
}

export interface SearchReport {
  readonly strategy: string;
  readonly objective: number | null;
  readonly lowerBound: number | null;
  readonly gap: number | null;
  readonly seconds: number;
  /** File written; null without an output. */
  readonly assignment: string | null;
  readonly budget: BudgetUse | null;
  /** Averages over parameters and over MACs. */
  readonly bits: { readonly weights: number; readonly activations: number };
  readonly layers: readonly Omit<LayerReport, keyof KernelReport>[];
  /** By ascending cost, in the unit of the budget. */
  readonly pareto: readonly ParetoPoint[];
  /** Of strategies that train; null for others. */
  readonly trace: SearchTrace | null;
  readonly warnings: readonly string[];
}

/**
 * Chooses bits; with `output` writes the assignment that `compile` takes.
 * @param finished as in {@link finetune}
 * @throws E501 (infeasible), E706 for another search's checkpoint, and as the steps do
 */
export async function search(
  path: string, config: SearchConfig = {}, hooks: Hooks = {}, finished: (report: SearchReport) => Promise<void> = async () => {},
): Promise<SearchReport> {
  const { output, ...o } = parseConfig(searchConfigSchema, config);
  checkSearch(o);
  if (o.precision !== null && parsePrecision(o.precision) === 'f32') fail('E103', 'nothing to search at f32', { remedy: 'leave --precision out' });
  const costs = o.costs === null ? null : await readCosts(o.costs);
  const progress = hooks.progress ?? (() => {});
  const started = performance.now();
  const model = await loadModel(path, o.define, o.batch, undefined, o.equalize);
  const observed = await observe(model, o, progress);
  const warnings = observed.synthetic ? ['no --calib data: bits chosen on random inputs, accuracy is unknown'] : [];
  warnings.forEach((w) => hooks.warn?.(w));
  const state = output === null ? null : `${output}.checkpoint`;
  const s = searchProblem(model, o, observed, costs, progress, state === null ? null : fileStore(state))!;
  const found = await runSearch(s);
  warnOfSilence(found, (w) => (warnings.push(w), hooks.warn?.(w)));
  const { problem } = s;
  const inputBits = inputBitsOf(problem, found.choice);
  const average = averageBits(problem, found.choice);
  const report: SearchReport = {
    strategy: found.strategy, objective: found.objective, lowerBound: found.lowerBound, gap: found.gap,
    seconds: (performance.now() - started) / 1000, assignment: output, budget: budgetUse(model.graph, o, found.choice, costs),
    bits: { weights: average.weightBits, activations: average.activationBits },
    layers: problem.layers.map((l) => ({
      name: l.name, op: l.node.op, weightBits: found.choice.weights.get(l.name)!, activationBits: inputBits(l), macs: l.macs, params: l.params,
    })),
    pareto: found.pareto, trace: found.trace ?? null, warnings,
  };
  if (output !== null) await writeFileAtomic(output, `${JSON.stringify(writeAssignment(problem, found.choice), null, 2)}\n`);
  await finished(report);
  if (state !== null) await rm(state, { force: true });
  return report;
}

/**
 * Arrays for a bundle's inputs from `.npz` files (keyed by input names), `NAME=FILE.npy`, or one `.npy` for the only input.
 * @throws E704, E301, E302
 */
export async function readInputs(folder: string, files: readonly string[]): Promise<TensorMap> {
  const { inputs } = (await openBundle(folder)).manifest;
  const found = new Map<string, Tensor>();
  for (const text of files) {
    const named = inputs.find((p) => text.startsWith(`${p.name}=`));
    const file = named ? text.slice(named.name.length + 1) : text;
    const bytes = await readFile(file).catch((cause: NodeJS.ErrnoException) =>
      fail('E704', 'input cannot be read', { node: file, found: cause.code }, cause));
    if (!named && bytes[0] === 0x50) for (const [name, t] of readNpz(bytes)) found.set(name, t);
    else {
      const port = named ?? (inputs.length === 1 ? inputs[0] : fail('E302', 'the bundle has several inputs', {
        node: file, found: 'one array without a name', expected: inputs.map((p) => `${p.name}=FILE.npy`).join(', '),
      }));
      found.set(port.name, readNpy(bytes, file));
    }
  }
  return found;
}

/**
 * Runs a bundle. Inputs have the bundle's shapes, or stacks of them: their leading dimensions may be a common multiple.
 * @param target default WebAssembly where the bundle has it
 * @throws E302 for inputs that do not fit, E603 without a C compiler for `c`, E701 for a damaged bundle
 */
export async function runBundle(folder: string, inputs: TensorMap, target: 'wasm' | 'c' | 'reference' | null = null): Promise<TensorMap> {
  const bundle = await openBundle(folder);
  const { manifest } = bundle;
  const ports = manifest.inputs;
  for (const name of inputs.keys()) {
    if (!ports.some((p) => p.name === name)) fail('E302', 'the bundle has no such input', { node: name, expected: ports.map((p) => p.name).join(', ') });
  }
  const missing = (p: PortReport): never => fail('E302', 'an input is missing', { node: p.name, expected: `${p.dtype} [${p.shape.join(', ')}]` });
  const stacks = ports.map((p) => split(p, inputs.get(p.name) ?? missing(p)));
  const counts = new Set(stacks.map((s) => s.length));
  if (counts.size > 1) {
    fail('E302', 'inputs hold different numbers of samples', { found: ports.map((p, i) => `${p.name}: ${stacks[i].length}`).join(', ') });
  }
  const count = stacks[0]?.length ?? 1;
  const samples: TensorMap[] = Array.from({ length: count }, (_, i) => new Map(ports.map((p, k) => [p.name, stacks[k][i]])));

  const results: TensorMap[] = [];
  const chosen = target ?? (manifest.targets.wasm ? 'wasm' : 'c');
  if (chosen === 'wasm') {
    const runner = await wasmRunner(bundle);
    for (const s of samples) results.push(runner.run(s));
  } else {
    const program = await referenceProgram(bundle);
    if (chosen === 'reference') for (const s of samples) results.push(runProgram(program, s));
    else {
      const runner = await cRunner(bundle, program);
      if (typeof runner === 'string') fail('E603', 'the C code cannot be run here', { found: runner, remedy: 'install gcc, or run --target wasm' });
      try {
        results.push(...(await runner.run(samples)).map((r) => r.outputs));
      } finally {
        await runner.dispose();
      }
    }
  }
  return new Map(manifest.outputs.map((p) => [p.name, join(results.map((r) => r.get(p.name)!))]));
}

/** The samples in a stack. Floats take any number; other types must be the model's. */
function split(p: PortReport, t: Tensor): Tensor[] {
  const [lead, ...rest] = p.shape;
  const stacked = p.shape.length > 0 && sameShape(t.shape.slice(1), rest) && t.shape[0] > 0 && t.shape[0] % lead === 0;
  const fits = sameShape(t.shape, p.shape) || stacked;
  if (!fits || (t.dtype !== p.dtype && !isFloat(p.dtype))) {
    fail('E302', 'an array does not match the input', {
      node: p.name, found: `${t.dtype} [${t.shape.join(', ')}]`, expected: `${p.dtype} [${p.shape.join(', ')}]`,
    });
  }
  let data = t.data;
  if (t.dtype !== p.dtype) {
    data = allocate(p.dtype, t.shape).data;
    for (let i = 0; i < data.length; i++) data[i] = Number(t.data[i]);
  }
  const n = p.shape.reduce((a, d) => a * d, 1);
  if (n === 0) return [tensor(p.dtype, p.shape, data)];
  return Array.from({ length: data.length / n }, (_, i) => tensor(p.dtype, p.shape, data.slice(i * n, (i + 1) * n)));
}

/** Outputs of several runs along the leading dimension. */
function join(parts: readonly Tensor[]): Tensor {
  if (parts.length === 1) return parts[0];
  const { dtype, shape } = parts[0];
  const out = allocate(dtype, [parts.length * (shape[0] ?? 1), ...shape.slice(1)]);
  parts.forEach((p, i) => (out.data as Float32Array).set(p.data as Float32Array, i * p.data.length));
  return out;
}
