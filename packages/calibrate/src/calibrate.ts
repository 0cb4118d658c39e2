/** Calibration: numbers for every chosen scheme, and bias correction. */
import type { DataSource } from '@bitloom/data';
import { compileGraph } from '@bitloom/engine';
import { type Graph, GraphBuilder, type Node, type ValueId, constantData, producers, typeOf } from '@bitloom/ir';
import { type QuantParams, fakeQuantize } from '@bitloom/numerics';
import { compose, opTable } from '@bitloom/ops';
import { allocate, tensor } from '@bitloom/tensor';
import { applyCalibration, layersOf, quantizable } from '@bitloom/transforms';
import { type Histogram, accumulate, BINS } from './histogram.js';
import { type Progress, graphBatches } from './observe.js';
import { type RangeMethod, activationParams, weightParams } from './ranges.js';

export interface CalibrationOptions {
  /** Ranges of activations. */
  readonly method: RangeMethod;
  readonly percentile: number;
  readonly symmetric: boolean;
  /** Ranges of weights. */
  readonly weights: 'minmax' | 'mse';
  readonly biasCorrection: boolean;
}

export const DEFAULT_CALIBRATION: CalibrationOptions = { method: 'mse', percentile: 99.99, symmetric: false, weights: 'mse', biasCorrection: true };

/** Histogram of the union of several (values that share parameters). */
export function mergeHistograms(parts: readonly Histogram[]): Histogram {
  if (parts.length === 1) return parts[0];
  const merged = { min: Math.min(...parts.map((p) => p.min)), max: Math.max(...parts.map((p) => p.max)), counts: new Float64Array(BINS) };
  for (const p of parts) {
    const one = new Float32Array(1);
    for (let i = 0; i < BINS; i++) {
      if (p.counts[i] === 0) continue;
      one[0] = p.min + ((i + 0.5) * (p.max - p.min)) / BINS;
      const k = { ...merged, counts: new Float64Array(BINS) };
      accumulate(k, one);
      const at = k.counts.findIndex((c) => c > 0);
      merged.counts[at] += p.counts[i];
    }
  }
  return merged;
}

/** Parameters of every chosen value. `fixed` ones (from the model itself) are kept. */
export function chooseParams(g: Graph, histograms: ReadonlyMap<ValueId, Histogram>, options: CalibrationOptions, fixed: ReadonlyMap<ValueId, QuantParams> = new Map()): Map<ValueId, QuantParams> {
  const params = new Map<ValueId, QuantParams>();
  const producer = producers(g);
  const { groups } = quantizable(g);
  const groupOf = new Map(groups.flatMap((a) => a.values.map((v) => [v, a] as const)));
  for (const [id, v] of g.values) {
    if (v.precision.state !== 'chosen') continue;
    const known = fixed.get(id);
    const data = constantData(producer, id);
    if (known && known.scheme.bits === v.precision.scheme.bits) params.set(id, known);
    else if (data) params.set(id, weightParams(data, v.precision.scheme, options.weights));
    else {
      const group = groupOf.get(id)!;
      const first = params.get(group.values[0]);
      params.set(id, first ?? activationParams(mergeHistograms(group.values.map((x) => histograms.get(x)!)), v.precision.scheme, options));
    }
  }
  return params;
}

/**
 * Shifts each layer's bias by the mean output error that its quantised weights cause on the data, per output channel:
 * b ← b − E[conv(x, Q(W) − W)] (Nagel et al., arXiv 1906.04721, §4.2, empirical form).
 */
export async function correctBias(g: Graph, params: ReadonlyMap<ValueId, QuantParams>, source: DataSource, progress: Progress = () => {}): Promise<Graph> {
  const producer = producers(g);
  const layers = layersOf(g).filter((l) => params.has(l.weight));
  if (layers.length === 0) return g;
  const b = GraphBuilder.from(g, opTable);
  const means = layers.map((l) => {
    const w = constantData(producer, l.weight)!;
    const q = fakeQuantize(w.data as Float32Array, w.shape, params.get(l.weight)!);
    const float = w.data as Float32Array;
    const delta = b.const(tensor('f32', w.shape, q.map((v, i) => v - float[i])), 'delta');
    const y = b.add(l.node.op, [l.input, delta], { ...(l.node.attrs as object), activation: null });
    const channel = l.node.op === 'conv' ? 1 : b.shapeOf(y).length - 1;
    return compose.reduceMean(b, y, b.shapeOf(y).map((_, i) => i).filter((i) => i !== channel), false);
  });
  const session = await compileGraph(b.build(means));
  const sums = layers.map((l) => new Float64Array(typeOf(g, l.weight).shape[0]));
  let runs = 0;
  let done = 0;
  for await (const batch of graphBatches(g, source)) {
    const out = await session.run(batch.inputs);
    means.forEach((m, i) => sums[i].forEach((_, c) => (sums[i][c] += Number(out.get(m)!.data[c]))));
    runs++;
    done += batch.count;
    progress('bias correction', done, source.size);
  }
  await session.close();

  const corrected = new Map<Node, ValueId>();
  const nodes: Node[] = [];
  const values = new Map(g.values);
  layers.forEach((l, i) => {
    const old = l.node.inputs[2];
    const bias = allocate('f32', [sums[i].length]);
    const base = old === undefined ? null : constantData(producer, old);
    if (old !== undefined && !base) return;
    sums[i].forEach((s, c) => (bias.data[c] = Math.fround(Number(base?.data[c] ?? 0) - s / runs)));
    const id = `${l.output}.bias`;
    values.set(id, { id, name: `${l.name}.bias`, type: { dtype: 'f32', shape: bias.shape }, precision: { state: 'float' } });
    nodes.push({ op: 'const', inputs: [], outputs: [id], attrs: { data: bias }, origin: l.name });
    corrected.set(l.node, id);
  });
  return {
    ...g,
    values,
    nodes: [...nodes, ...g.nodes.map((n) => (corrected.has(n) ? { ...n, inputs: [n.inputs[0], n.inputs[1], corrected.get(n)!] } : n))],
  };
}

/** chosen → calibrated. Unused constants (replaced biases) are left for dead-code removal. */
export async function calibrate(
  g: Graph,
  histograms: ReadonlyMap<ValueId, Histogram>,
  options: CalibrationOptions,
  source: DataSource | null,
  fixed?: ReadonlyMap<ValueId, QuantParams>,
  progress?: Progress,
): Promise<Graph> {
  const params = chooseParams(g, histograms, options, fixed);
  const corrected = options.biasCorrection && source ? await correctBias(g, params, source, progress) : g;
  return applyCalibration(corrected, params);
}

/** Values whose histograms calibration needs. */
export const observedValues = (g: Graph): ValueId[] => quantizable(g).groups.flatMap((a) => a.values);
