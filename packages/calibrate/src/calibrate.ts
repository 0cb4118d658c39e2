/** Calibration: numbers for every chosen scheme, and bias correction. Layers are matched between graphs of different batch sizes by name. */
import type { DataSource } from '@bitloom/data';
import { compileGraph } from '@bitloom/engine';
import { type Graph, GraphBuilder, type ValueId, constantData, producers, typeOf } from '@bitloom/ir';
import { type QuantParams, fakeQuantize } from '@bitloom/numerics';
import { compose, opTable } from '@bitloom/ops';
import { tensor } from '@bitloom/tensor';
import { layersOf, quantizable } from '@bitloom/transforms';
import { type Histogram, mergeHistograms } from './histogram.js';
import { type Progress, batchOf, firstSamples, graphBatches } from './observe.js';
import { type ActivationOptions, activationParams, weightParams } from './ranges.js';

/** Ranges of activations, and what else is calibrated. */
export interface CalibrationOptions extends ActivationOptions {
  /** Ranges of weights. */
  readonly weights: 'minmax' | 'mse';
  readonly biasCorrection: boolean;
}

export const DEFAULT_CALIBRATION: CalibrationOptions = { method: 'mse', percentile: 99.99, symmetric: false, weights: 'mse', biasCorrection: true };

/** Parameters of every chosen value. `fixed` ones (from the model itself) are kept. */
export function chooseParams(
  g: Graph, histograms: ReadonlyMap<ValueId, Histogram>, options: CalibrationOptions, fixed: ReadonlyMap<ValueId, QuantParams> = new Map(),
): Map<ValueId, QuantParams> {
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
 * New biases that make up for the mean output error of the quantised weights on the data, per output channel:
 * b ← b − E[conv(x, Q(W) − W)] (Nagel et al., arXiv 1906.04721, §4.2, empirical form). Keyed by layer name.
 */
export async function correctedBiases(
  g: Graph, params: ReadonlyMap<ValueId, QuantParams>, source: DataSource, progress: Progress = () => {},
): Promise<Map<string, Float32Array>> {
  const producer = producers(g);
  const layers = layersOf(g).filter((l) => params.has(l.weight) && (l.node.inputs[2] === undefined || constantData(producer, l.node.inputs[2])));
  if (layers.length === 0) return new Map();
  const b = GraphBuilder.from(g, opTable);
  const means = layers.map((l) => {
    const w = constantData(producer, l.weight)!;
    const float = w.data as Float32Array;
    const q = fakeQuantize(float, w.shape, params.get(l.weight)!);
    const delta = b.const(tensor('f32', w.shape, q.map((v, i) => v - float[i])), 'delta');
    const y = b.add(l.node.op, [l.input, delta], { ...(l.node.attrs as object), activation: null });
    const channel = l.node.op === 'conv' ? 1 : b.shapeOf(y).length - 1;
    // One row of channels per sample (or several), so that what fills up the last batch can be left out.
    return compose.reduceMean(b, y, b.shapeOf(y).map((_, i) => i).filter((i) => i !== 0 && i !== channel), false);
  });
  const session = await compileGraph(b.build(means));
  const sums = layers.map((l) => new Float64Array(typeOf(g, l.weight).shape[0]));
  const rows = new Float64Array(layers.length);
  let done = 0;
  try {
    for await (const batch of graphBatches(g, source)) {
      const out = await session.run(batch.inputs);
      means.forEach((m, i) => {
        const channels = sums[i].length;
        const data = firstSamples(out.get(m)!, batchOf(g), batch.count);
        data.forEach((v, k) => (sums[i][k % channels] += v));
        rows[i] += data.length / channels;
      });
      done += batch.count;
      progress('bias correction', done, source.size);
    }
  } finally {
    await session.close();
  }
  return new Map(layers.map((l, i) => {
    const old = l.node.inputs[2] === undefined ? null : (constantData(producer, l.node.inputs[2])!.data as Float32Array);
    return [l.name, Float32Array.from(sums[i], (s, c) => (old?.[c] ?? 0) - s / rows[i])];
  }));
}

/** Values whose histograms calibration needs. */
export const observedValues = (g: Graph): ValueId[] => quantizable(g).groups.flatMap((a) => a.values);
