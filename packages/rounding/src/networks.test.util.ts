/** Small layers and data for them. */
import type { DataSource } from '@bitloom/data';
import type { Graph, GraphBuilder, ValueId } from '@bitloom/ir';
import type { Bits, QuantParams } from '@bitloom/numerics';
import { createBuilder } from '@bitloom/ops';
import { DEFAULT_CALIBRATION, chooseParams, collectHistograms, observedValues } from '@bitloom/calibrate';
import { Rng, type Tensor, elementCount, tensor } from '@bitloom/tensor';
import { activationScheme, applyAssignment, layersOf, markCandidates, quantizable, weightScheme } from '@bitloom/transforms';

export const random = (shape: readonly number[], seed: number, shift = 0): Tensor => {
  const rng = new Rng(seed);
  return tensor('f32', shape, Float32Array.from({ length: elementCount(shape) }, () => rng.normal() + shift));
};

/** A level of its own and some noise: where inputs are alike, errors of weights can make up for each other. */
const sample = (shape: readonly number[], seed: number): Tensor => {
  const [level] = random([1], seed, 0.5).data as Float32Array;
  return tensor('f32', shape, (random(shape, seed + 1e6).data as Float32Array).map((v) => level + 0.5 * v));
};

/** `size` samples of one input x. */
export const sourceOf = (size: number, shape: readonly number[]): DataSource => ({
  kind: 'test', size, labelled: false, fingerprint: `test ${size}`,
  async *samples(range = {}) {
    const indices = 'length' in range ? range : Array.from({ length: (range.end ?? size) - (range.start ?? 0) }, (_, i) => i + (range.start ?? 0));
    for (const i of indices) yield { inputs: new Map([['x', sample(shape, 100 + i)]]) };
  },
});

export const addConv = (b: GraphBuilder, x: ValueId, name: string, weight: Tensor, over: object = {}, bias: Tensor | null = null): ValueId => {
  b.origin = name;
  const kernel = weight.shape.slice(2);
  const attrs = { strides: kernel.map(() => 1), dilations: kernel.map(() => 1), pads: [...kernel, ...kernel].map(() => 1), group: 1, ...over };
  return b.add('conv', [x, b.const(weight), ...(bias ? [b.const(bias)] : [])], attrs);
};

/** A layer between tanh and exp, so that its input is a quantised value and its output none. */
export function single(batch: number, shape: readonly number[], add: (b: GraphBuilder, x: ValueId) => ValueId): Graph {
  const b = createBuilder('single');
  const x = b.add('tanh', [b.input('x', { dtype: 'f32', shape: [batch, ...shape] })]);
  return b.build([b.add('exp', [add(b, x)])]);
}

/** What calibration chooses at some bits. */
export async function paramsOf(g: Graph, source: DataSource, weights: Bits, activations: Bits): Promise<Map<ValueId, QuantParams>> {
  const chosen = applyAssignment(markCandidates(g, [weights], [activations]), new Map([
    ...layersOf(g).map((l) => [l.weight, weightScheme(weights)] as const),
    ...quantizable(g).groups.flatMap((a) => a.values.map((v) => [v, activationScheme(a.layers.length > 0 ? activations : 8)] as const)),
  ]));
  return chooseParams(chosen, await collectHistograms(g, observedValues(g), source), DEFAULT_CALIBRATION);
}
