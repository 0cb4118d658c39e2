/** Choosing bits: data, histograms, strategy. */
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { type CalibrationOptions, DEFAULT_CALIBRATION, type Histogram, type Progress, batchOf, collectHistograms, observedValues } from '@bitloom/calibrate';
import { type DataSource, openData, remembered, subset, syntheticSource } from '@bitloom/data';
import type { CostTable } from '@bitloom/codegen';
import { fail } from '@bitloom/diagnostics';
import { type Graph, type ValueId, constantData, producers } from '@bitloom/ir';
import type { Bits } from '@bitloom/numerics';
import { type Budget, type SearchProblem, type SearchResult, type SearchStrategy, budgetKind, defaultPins, mergePins, parseBudget, parsePin, random, uniform } from '@bitloom/search';
import { ebs } from '@bitloom/search-ebs';
import { mckp } from '@bitloom/search-mckp';
import { elementCount } from '@bitloom/tensor';
import type { CheckpointStore } from '@bitloom/train';
import { markCandidates, quantizable } from '@bitloom/transforms';
import { type LoadedModel, atBatch, inputSpecs, statisticsGraph } from './model.js';
import { latencyModel } from './latency.js';
import { type SearchOptions, parsePrecision } from './options.js';
import { costsOf, countedFlavour } from './targets.js';

export const STRATEGIES: ReadonlyMap<string, SearchStrategy> = new Map([uniform, random, mckp, ebs].map((s) => [s.name, s as SearchStrategy]));

export interface Observed {
  /** Graph at the statistics batch size. */
  readonly graph: Graph;
  readonly data: DataSource;
  /** What `data` is drawn from. */
  readonly all: DataSource;
  /** No data was given: inputs are random. */
  readonly synthetic: boolean;
  readonly histograms: ReadonlyMap<ValueId, Histogram>;
}

/** Random inputs in place of data: so many, and fewer for networks with more activation elements than this in all of them. */
const SYNTHETIC_SAMPLES = { most: 64, least: 8 };
const SYNTHETIC_ELEMENTS = 2 ** 25;

export function syntheticSamples(g: Graph): number {
  const constants = producers(g);
  const elements = [...g.values.values()].reduce((n, v) => n + (constantData(constants, v.id) ? 0 : elementCount(v.type.shape)), 0);
  const fitting = Math.floor((SYNTHETIC_ELEMENTS * batchOf(g)) / Math.max(1, elements));
  return Math.min(SYNTHETIC_SAMPLES.most, Math.max(SYNTHETIC_SAMPLES.least, fitting));
}

/** Decoded samples kept between the passes over them. */
export const REMEMBERED_BYTES = 2 ** 30;

export const calibrationOptions = (o: SearchOptions): CalibrationOptions => ({
  method: o.calibration, percentile: o.percentile, symmetric: o.symmetric, weights: DEFAULT_CALIBRATION.weights, biasCorrection: o.biasCorrection,
});

/** Runs the calibration data (or random inputs) through the float network. */
export async function observe(m: LoadedModel, o: SearchOptions, progress: Progress): Promise<Observed> {
  const graph = await statisticsGraph(m);
  const specs = inputSpecs(graph);
  const all = o.calib ? remembered(await openData(o.calib, specs, o.preprocessing), REMEMBERED_BYTES) : null;
  const data = all ? subset(all, o.samples, o.seed) : syntheticSource(specs, Math.min(o.samples, syntheticSamples(graph)), o.seed);
  const histograms = await collectHistograms(graph, observedValues(graph), data, progress);
  return { graph, data, all: all ?? data, synthetic: !o.calib, histograms };
}

/**
 * The strategy that the options ask for, with its own options; null for f32. Needs no model.
 * @throws E101, E103 for options that do not go together
 */
export function chosenStrategy(o: SearchOptions): { strategy: SearchStrategy; options: unknown } | null {
  const precision = o.precision === null ? null : parsePrecision(o.precision);
  const excludes = (what: string, given: boolean): void => {
    if (given) fail('E103', `--precision and ${what} exclude each other`, { found: `--precision ${o.precision}`, remedy: 'give one of them' });
  };
  if (precision) {
    excludes('--budget', o.budget !== null);
    excludes('--weights', o.weights !== null);
    excludes('--activations', o.activations !== null);
  }
  if (precision === 'f32') {
    excludes('--pin', o.pin.length > 0);
    return null;
  }
  const name = o.strategy ?? (o.budget ? 'mckp' : 'uniform');
  const strategy = STRATEGIES.get(name) ?? fail('E101', 'unknown strategy', { found: name, expected: [...STRATEGIES.keys()].join(', ') });
  if (name !== 'uniform' && !o.budget) fail('E103', `strategy ${name} needs a budget`, { remedy: 'add --budget, for example --budget bits=4' });
  const parsed = strategy.options.safeParse(o.strategyOptions);
  if (!parsed.success) fail('E101', `bad option of strategy ${name}`, { found: parsed.error.issues[0].message });
  return { strategy, options: parsed.data };
}

/** The budget of the options for a graph; null without one. Latency is that of the first target. */
export function budgetOf(g: Graph, o: SearchOptions, costs: CostTable | null): Budget | null {
  if (o.budget === null) return null;
  const flavour = countedFlavour(o.target[0], costs);
  const latency = budgetKind(o.budget) === 'latency' ? latencyModel(g, flavour, costsOf(flavour.backend, costs)) : null;
  return parseBudget(o.budget, g, quantizable(g), latency);
}

/** The problem of a model under the options; null for `--precision f32`. */
export function searchProblem(
  m: LoadedModel, o: SearchOptions, seen: Observed, costs: CostTable | null, progress: Progress, state: CheckpointStore | null = null,
): { problem: SearchProblem; strategy: SearchStrategy; options: unknown } | null {
  const chosen = chosenStrategy(o);
  if (!chosen) return null;
  const precision = o.precision === null ? null : (parsePrecision(o.precision) as readonly [Bits, Bits]);
  const weightBits: readonly Bits[] = precision ? [precision[0]] : (o.weights ?? chosen.strategy.defaultBits ?? (o.budget ? [2, 3, 4, 5, 6, 7, 8] : [8]));
  const activationBits: readonly Bits[] = precision ? [precision[1]] : (o.activations ?? chosen.strategy.defaultBits ?? [8]);
  const { layers } = quantizable(m.graph);
  const graph = markCandidates(seen.graph, weightBits, activationBits);
  const statistics = quantizable(seen.graph);
  const pins = mergePins(layers, o.pin.map(parsePin), o.freeEnds ? new Map() : defaultPins(layers));
  return {
    ...chosen,
    problem: {
      graph,
      // MACs are those of the graph to compile, values those of the statistics graph.
      layers: statistics.layers.map((l, i) => ({ ...l, macs: layers[i].macs })),
      groups: statistics.groups.map((a) => ({ ...a, layers: a.layers.map((l) => ({ ...l, macs: layers.find((d) => d.name === l.name)!.macs })) })),
      weightBits: ascending(weightBits),
      activationBits: ascending(activationBits),
      pins,
      budget: budgetOf(m.graph, o, costs),
      data: seen.data,
      histograms: seen.histograms,
      training: seen.all.labelled ? {
        data: seen.all, atBatch: (batch) => atBatch(m, batch), state,
        get identity() {
          return createHash('sha256').update(JSON.stringify([m.sha256, seen.all.fingerprint, { ...o, calib: null }])).digest('hex');
        },
      } : null,
      calibration: calibrationOptions(o),
      seed: o.seed,
      progress,
    },
  };
}

const ascending = (bits: readonly Bits[]): readonly Bits[] => [...new Set(bits)].sort((a, b) => a - b);

export async function search(s: NonNullable<ReturnType<typeof searchProblem>>): Promise<SearchResult> {
  return s.strategy.search(s.problem, s.options);
}

/** What an assignment file holds, for `readAssignment`. @throws E704, E502 */
export async function readAssignmentFile(path: string): Promise<unknown> {
  const text = await readFile(path, 'utf8').catch((cause: NodeJS.ErrnoException) => fail('E704', 'assignment cannot be read', { node: path, found: cause.code }, cause));
  try {
    return JSON.parse(text) ?? 'null'; // null would mean that none was given
  } catch (cause) {
    return fail('E502', 'the assignment is not JSON', { node: path, remedy: 'make one with bitloom search -o' }, cause);
  }
}
