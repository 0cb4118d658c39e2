/** Ranges of layer inputs by what they do to the layers' outputs. */
import type { DataSource } from '@bitloom/data';
import { compileGraph } from '@bitloom/engine';
import { type Graph, GraphBuilder, type ValueId } from '@bitloom/ir';
import { type QuantParams, codeRange } from '@bitloom/numerics';
import { compose, opTable } from '@bitloom/ops';
import { type ActivationGroup, quantizable } from '@bitloom/transforms';
import { mergeHistograms, type Histogram } from './histogram.js';
import { type Progress, graphBatches } from './observe.js';
import { paramsForRange } from './ranges.js';

/** Q(x) − x as core ops. */
export function quantizationNoise(b: GraphBuilder, x: ValueId, q: QuantParams): ValueId {
  const { lo, hi } = codeRange(q.scheme);
  const [s, z] = [q.scale[0], q.zeroPoint[0]];
  const code = b.add('clip', [b.add('round', [compose.div(b, x, compose.scalarLike(b, x, s))])], { min: lo - z, max: hi - z });
  return compose.sub(b, compose.scale(b, code, s), x);
}

/** Shares of the seen range that are tried, each side on its own. */
const SHRINKS = [1, 0.85, 0.7, 0.55, 0.4, 0.25];

function candidates(chosen: QuantParams, h: Histogram): QuantParams[] {
  const side = (bound: number): number[] => (bound === 0 ? [0] : SHRINKS.map((k) => bound * k));
  const tried = side(Math.min(0, h.min)).flatMap((lo) => side(Math.max(0, h.max)).map((hi) => paramsForRange(lo, hi, chosen.scheme)));
  return [chosen, ...tried];
}

/**
 * Replaces the parameters of each activation group that layers read by those with the least relative squared error at the layers'
 * outputs, E‖w ∗ (Q(x) − x)‖² / E‖w ∗ x‖² summed over the layers, among the chosen ones and shrinks of the seen range. Where small
 * values carry the information beside large ones (spectral features), plain squared error of the input keeps the wrong ones.
 * @param params unsigned per-tensor parameters by value; a group shares one
 */
export async function refineRanges(g: Graph, params: ReadonlyMap<ValueId, QuantParams>, histograms: ReadonlyMap<ValueId, Histogram>, source: DataSource, progress: Progress = () => {}): Promise<Map<ValueId, QuantParams>> {
  const refined = new Map(params);
  const b = GraphBuilder.from(g, opTable);
  const rows: { group: ActivationGroup; tried: QuantParams[]; errors: ValueId[][]; signals: ValueId[] }[] = [];
  const energy = (op: string, x: ValueId, w: ValueId, attrs: unknown): ValueId => {
    const y = b.add(op, [x, w], { ...(attrs as object), activation: null });
    return compose.reduceSum(b, compose.square(b, y), b.shapeOf(y).map((_, i) => i), false);
  };
  for (const group of quantizable(g).groups) {
    const chosen = params.get(group.values[0]);
    if (!chosen || group.layers.length === 0) continue;
    const tried = candidates(chosen, mergeHistograms(group.values.map((v) => histograms.get(v)!)));
    rows.push({
      group, tried,
      signals: group.layers.map((l) => energy(l.node.op, l.input, l.weight, l.node.attrs)),
      errors: tried.map((q) => group.layers.map((l) => energy(l.node.op, quantizationNoise(b, l.input, q), l.weight, l.node.attrs))),
    });
  }
  if (rows.length === 0) return refined;
  const outputs = rows.flatMap((r) => [...r.signals, ...r.errors.flat()]);
  const sums = new Map(outputs.map((o) => [o, 0]));
  const session = await compileGraph(b.build(outputs));
  try {
    let done = 0;
    for await (const batch of graphBatches(g, source)) {
      const out = await session.run(batch.inputs);
      for (const o of outputs) sums.set(o, sums.get(o)! + Number(out.get(o)!.data[0]));
      progress('ranges at outputs', (done += batch.count), source.size);
    }
  } finally {
    await session.close();
  }
  for (const r of rows) {
    const loss = r.errors.map((e) => e.reduce((s, o, i) => s + sums.get(o)! / (sums.get(r.signals[i])! || 1), 0));
    const best = loss.reduce((k, v, i) => (v < loss[k] ? i : k), 0);
    for (const v of r.group.values) refined.set(v, r.tried[best]);
  }
  return refined;
}
