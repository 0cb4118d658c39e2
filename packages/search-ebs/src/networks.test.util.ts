/** Small problems for the search. */
import { DEFAULT_CALIBRATION, collectHistograms, observedValues } from '@bitloom/calibrate';
import type { DataSource } from '@bitloom/data';
import type { Graph } from '@bitloom/ir';
import type { Bits } from '@bitloom/numerics';
import { createBuilder, evaluateGraph } from '@bitloom/ops';
import { type LatencyModel, type SearchProblem, parseBudget } from '@bitloom/search';
import type { CheckpointStore } from '@bitloom/train';
import { Rng, type Tensor, elementCount, tensor, toNumbers } from '@bitloom/tensor';
import { markCandidates, quantizable, splitStreams } from '@bitloom/transforms';

export const normal = (shape: readonly number[], seed: number, size = 1): Tensor => {
  const rng = new Rng(seed);
  return tensor('f32', shape, Float32Array.from({ length: elementCount(shape) }, () => Math.fround(size * rng.normal())));
};

const CLASSES = 4;
/** `stem`, a stream that `loud` and `faint` read, of which only `loud` matters, and their sum; `head`. */
export function network(batch: number): Graph {
  const b = createBuilder('net');
  const x = b.input('x', { dtype: 'f32', shape: [batch, 3, 4, 4] });
  const conv = (name: string, from: string, seed: number, size: number): string => {
    b.origin = name;
    const w = b.const(normal([6, b.shapeOf(from)[1], 3, 3], seed, size));
    return b.add('conv', [from, w, b.const(normal([6], seed + 50, 0.1))], { strides: [1, 1], dilations: [1, 1], pads: [1, 1, 1, 1], group: 1, activation: { min: 0, max: Infinity } });
  };
  const stem = conv('stem', x, 1, 0.3);
  const loud = conv('loud', stem, 2, 0.3);
  const faint = conv('faint', stem, 3, 0.3);
  b.origin = 'sum';
  const sum = b.add('concat', [b.add('mul', [faint, b.const(tensor('f32', [], Float32Array.of(0.01)))]), loud], { axis: 1 });
  b.origin = 'flat';
  const flat = b.add('reshape', [sum], { shape: [batch, 192] });
  b.origin = 'head';
  return splitStreams(b.build([b.add('linear', [flat, b.const(normal([CLASSES, 192], 4, 0.2)), b.const(normal([CLASSES], 5, 0.1))], { activation: null })]));
}

const SIZE = 192;
/** Labelled by the network itself. */
const samples = ((): { x: Tensor; label: number }[] => {
  const g = network(1);
  return Array.from({ length: SIZE }, (_, i) => {
    const x = normal([3, 4, 4], 1000 + i);
    const [y] = evaluateGraph(g, new Map([[g.inputs[0], tensor('f32', [1, 3, 4, 4], x.data as Float32Array)]])).values();
    const z = toNumbers(y);
    return { x, label: z.indexOf(Math.max(...z)) };
  });
})();
export const data: DataSource = {
  kind: 'test', size: SIZE, labelled: true, fingerprint: 'test',
  async *samples(range = {}) {
    const indices = 'length' in range ? range : samples.map((_, i) => i).slice(range.start ?? 0, range.end);
    for (const i of indices) yield { inputs: new Map([['x', samples[i].x]]), label: samples[i].label };
  },
};

export const PROBLEM_BATCH = 8;
const statistics = network(PROBLEM_BATCH);
const histograms = await collectHistograms(statistics, observedValues(statistics), data, () => {});

/** A machine on which time grows with both bits, but in steps. */
export const TIMES: LatencyModel = {
  fixed: 300, float: 9000, layer: (name, w, a) => 100 + (name === 'stem' ? 3 : 7) * Math.ceil(w / 2) * a,
};

export const WEIGHT_BITS: readonly Bits[] = [1, 2, 3, 4, 5];

/** @param budget as parseBudget takes it */
export function problem(budget: string, over: Partial<SearchProblem> = {}, state: CheckpointStore | null = null): SearchProblem {
  const { layers, groups } = quantizable(statistics);
  const bits = { weightBits: over.weightBits ?? WEIGHT_BITS, activationBits: over.activationBits ?? ([2, 4] as const) };
  return {
    graph: markCandidates(statistics, bits.weightBits, bits.activationBits), layers, groups, ...bits, pins: new Map(),
    budget: parseBudget(budget, statistics, { layers, groups }, budget.startsWith('latency') ? TIMES : null), data, histograms,
    training: { data, atBatch: async (batch) => network(batch), state, identity: 'test' },
    calibration: DEFAULT_CALIBRATION, seed: 3, progress: () => {}, ...over,
  };
}
