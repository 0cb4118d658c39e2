/** Means and variances of the outputs of convolutions, over data. */
import { type DataSource, batches } from '@bitloom/data';
import { compileGraph } from '@bitloom/engine';
import { type Graph, GraphBuilder, type ValueId, typeOf, valueOf } from '@bitloom/ir';
import { compose, opTable } from '@bitloom/ops';
import { type Tensor, reshape } from '@bitloom/tensor';
import { layersOf } from '@bitloom/transforms';
import type { ChannelStatistics, Trainable } from './trainable.js';

/** Values that hold the mean and the variance of each channel over a batch. */
interface Watched {
  readonly name: string;
  readonly mean: ValueId;
  readonly variance: ValueId;
}

/** Statistics over whole batches of `data`: E[variance] + Var[mean] is the variance of all. */
async function overBatches(
  g: Graph, inputs: ReadonlyMap<string, ValueId>, fixed: ReadonlyMap<ValueId, Tensor>, watched: readonly Watched[], data: DataSource, batch: number,
): Promise<Map<string, ChannelStatistics>> {
  const fed = new Set([...fixed.keys(), ...inputs.values()]);
  const session = await compileGraph({ ...g, inputs: g.inputs.filter((i) => fed.has(i)) }, watched.flatMap((w) => [w.mean, w.variance]));
  const sums = watched.map(() => ({ mean: [] as number[], square: [] as number[] }));
  const whole = Math.max(1, Math.floor(data.size / batch));
  try {
    for await (const b of batches(data, batch, Array.from({ length: whole * batch }, (_, i) => i % data.size))) {
      const out = await session.run(new Map([...fixed, ...[...inputs].map(([name, id]) => [id, reshape(b.inputs.get(name)!, typeOf(g, id).shape)] as const)]));
      watched.forEach((w, i) => {
        const [mean, variance] = [w.mean, w.variance].map((id) => out.get(id)!.data as Float32Array);
        mean.forEach((m, c) => {
          sums[i].mean[c] = (sums[i].mean[c] ?? 0) + m / whole;
          sums[i].square[c] = (sums[i].square[c] ?? 0) + (variance[c] + m * m) / whole;
        });
      });
    }
  } finally {
    await session.close();
  }
  return new Map(watched.map((w, i) => [w.name, {
    mean: Float32Array.from(sums[i].mean), variance: Float32Array.from(sums[i].square, (q, c) => Math.max(0, q - sums[i].mean[c] ** 2)),
  }]));
}

/** Of a float graph's two-dimensional convolutions, by layer name, before their activations. @param data at least a batch of the graph is read */
export async function outputStatistics(g: Graph, data: DataSource): Promise<Map<string, ChannelStatistics>> {
  const b = GraphBuilder.from(g, opTable);
  const watched = layersOf(g).filter((l) => l.node.op === 'conv' && typeOf(g, l.output).shape.length === 4).map((l): Watched => {
    const z = b.add('conv', l.node.inputs, { ...(l.node.attrs as object), activation: null });
    const mean = compose.reduceMean(b, z, [0, 2, 3], true);
    return { name: l.name, mean, variance: compose.reduceMean(b, compose.square(b, compose.sub(b, z, mean)), [0, 2, 3], true) };
  });
  const inputs = new Map(g.inputs.map((id) => [valueOf(g, id).name, id]));
  return overBatches(b.build(watched.flatMap((w) => [w.mean, w.variance])), inputs, new Map(), watched, data, typeOf(g, g.inputs[0]).shape[0]);
}

/**
 * Of what normalisation sees in training, with everything quantised, for {@link foldLayer}: those of the float network no longer fit.
 * @param g that `t` was made of @param parameters current values of all inputs but the network's own
 */
export function populationStatistics(g: Graph, t: Trainable, parameters: ReadonlyMap<ValueId, Tensor>, data: DataSource): Promise<Map<string, ChannelStatistics>> {
  const watched = t.layers.flatMap(({ layer, norm }) => (norm ? [{ name: layer.name, mean: norm.mean, variance: norm.variance }] : []));
  const inputs = new Map([...t.inputs].map(([old, id]) => [valueOf(g, old).name, id]));
  return overBatches(t.b.build(watched.flatMap((w) => [w.mean, w.variance])), inputs, parameters, watched, data, typeOf(g, g.inputs[0]).shape[0]);
}
