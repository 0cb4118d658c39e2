/**
 * Quantisation-aware training: learnt steps (LSQ, arXiv 1902.08153) on the very grids of the compiler, so that what a network gives in
 * training is what its codes give afterwards.
 */
import { fail } from '@bitloom/diagnostics';
import { FLOAT, type Graph, type GraphBuilder, IdPool, type Node, type TensorType, type ValueId, valueOf } from '@bitloom/ir';
import { type QuantParams, codeRange, quantize } from '@bitloom/numerics';
import { compose } from '@bitloom/ops';
import { type Tensor, elementCount, tensor } from '@bitloom/tensor';
import type { Parameter } from './step.js';
import type { Insertions } from './trainable.js';

/**
 * Steps of more bits stay: there is nothing to gain, and a clipped value, whose gradient is the largest code, throws them about (seen with 8 bits
 * and a step a channel).
 */
const MOST_LEARNT = 6;

/** A step never falls below this share of its first value: the gradients of the first batches, when few bits have just been put in, may be huge. */
const LEAST_SHARE = 1 / 16;

export interface LearntSteps extends Insertions {
  /** One for each quantised value, by its id in the original graph, in its insertion order; shapes [] or, a step a channel, [channels, 1, …]. */
  readonly steps: ReadonlyMap<ValueId, Parameter>;
}

export interface MixedSteps extends Insertions {
  /** As those of {@link LearntSteps}, one for each quantiser of a value. */
  readonly steps: ReadonlyMap<ValueId, readonly Parameter[]>;
}

export interface StepOptions {
  /** Factor of the learning rate of steps. */
  readonly rateScale?: number;
}

/**
 * Attributes of a quantiser: codes about the zero point, and the factor of its step's gradient, 1/√(elements · largest code), elements those of one sample that
 * share the step (LSQ, section 2.2).
 */
function codes(name: string, { scheme, zeroPoint }: QuantParams, elements: number): { lo: number; hi: number; gradientScale: number } {
  if (zeroPoint.some((z) => z !== zeroPoint[0])) fail('E901', 'channels with zero points of their own', { node: name });
  const { lo, hi } = codeRange(scheme);
  const [from, to] = [lo - zeroPoint[0], hi - zeroPoint[0]];
  return { lo: from, hi: to, gradientScale: 1 / Math.sqrt(elements * Math.max(1, to)) };
}

const isBinary = ({ scheme }: QuantParams): boolean => scheme.signed && scheme.bits === 1;

/** x on the grid of one quantiser, or the sum of x on the grids of several, times their shares (EBS, arXiv 2003.07577). @param shares scalars, one for each of several */
function onGrids(
  b: GraphBuilder, name: string, x: ValueId, quantizers: readonly { readonly params: QuantParams; readonly step: ValueId }[], shares: readonly ValueId[], elements: number,
): ValueId {
  const attrs = quantizers.map(({ params }) => (isBinary(params) ? null : codes(name, params, elements)));
  const single = (i: number): ValueId => b.add(attrs[i] ? 'lsq' : 'binarize', [x, quantizers[i].step], attrs[i] ?? {});
  if (quantizers.length === 1) return single(0);
  const all = quantizers.map((_, i) => i);
  const linear = all.filter((i) => attrs[i]);
  const terms = all.filter((i) => !attrs[i]).map((i) => compose.mul(b, single(i), shares[i]));
  if (linear.length > 0) terms.push(b.add('mixed_lsq', [x, ...linear.flatMap((i) => [quantizers[i].step, shares[i]])], { quantizers: linear.map((i) => attrs[i]!) }));
  return terms.reduce((sum, t) => compose.add(b, sum, t));
}

/**
 * Fake quantisers for the values that have parameters, beginning with these. Zero points stay: an offset between codes would be no integer. Values with
 * several quantisers become the sum of what these give, by their shares; each has a step of its own.
 * @param quantizers by value of the graph that {@link trainable} copies
 * @param shares of a value with several: a scalar for each
 */
export function mixedSteps(
  quantizers: ReadonlyMap<ValueId, readonly QuantParams[]>, shares: (b: GraphBuilder, id: ValueId) => readonly ValueId[], { rateScale = 1 }: StepOptions = {},
): MixedSteps {
  const steps = new Map<ValueId, readonly Parameter[]>();
  const quantized = (b: GraphBuilder, id: ValueId, name: string, x: ValueId, elements: number, size: Float32Array | null = null): ValueId => {
    const all = quantizers.get(id);
    if (!all) return x;
    const parameter = ({ scheme, scale }: QuantParams): Parameter => {
      if (scheme.axis !== null && scheme.axis !== 0) fail('E901', 'steps are learnt for tensors and for their first axis', { node: name, found: `axis ${scheme.axis}` });
      const shape = scheme.axis === null ? [] : [scale.length, ...b.shapeOf(x).slice(1).map(() => 1)];
      const of = `${name}.step${all.length === 1 ? '' : scheme.bits}`;
      const initial = tensor('f32', shape, scale.map((v, i) => v * (size?.[i] ?? 1)));
      return {
        id: b.input(of, { dtype: 'f32', shape }), name: of, initial, least: tensor('f32', shape, (initial.data as Float32Array).map((v) => LEAST_SHARE * v)),
        rateScale: scheme.bits > MOST_LEARNT ? 0 : rateScale, decay: 0,
      };
    };
    const known = steps.get(id) ?? all.map(parameter);
    steps.set(id, known);
    return onGrids(b, name, x, all.map((params, i) => ({ params, step: known[i].id })), all.length === 1 ? [] : shares(b, id), elements);
  };
  return {
    steps,
    weight: (b, layer, weight, size) =>
      quantized(b, layer.weight, `${layer.name}.weight`, weight, elementCount(b.shapeOf(weight)) / (quantizers.get(layer.weight)?.[0].scale.length ?? 1), size),
    value: (b, id, value) => quantized(b, id, id, value, elementCount(b.shapeOf(value).slice(1))),
  };
}

/** How far from the boundary of its cell a weight begins that rounding moved there, in steps. */
const MARGIN = 0.25;

/**
 * Weights on which training begins after a rounding other than to nearest: they have the codes of that, and what the float weights know besides. A weight stays where
 * its nearest code is the one that was chosen, and moves as little into the cell of that as leaves a margin elsewhere. Ours: from the centres of their cells, weights learnt
 * more slowly (ResNet-20 at W2A2, 8 epochs of 10,000 images, one seed: training loss 0.36 in place of 0.34).
 * @param rounded on the grid of `q`, a step a tensor or for each index of the first axis
 */
export function insideCells(weight: Tensor, rounded: Tensor, q: QuantParams): Tensor {
  const [own, chosen] = [weight, rounded].map((t) => quantize(t.data as Float32Array, t.shape, q));
  const [from, to] = [weight.data as Float32Array, rounded.data as Float32Array];
  const perStep = from.length / q.scale.length;
  const reach = (isBinary(q) ? 2 : 1) * (0.5 - MARGIN);
  return tensor('f32', weight.shape, from.map((w, i) => (own[i] === chosen[i] ? w : to[i] + Math.sign(w - to[i]) * reach * q.scale[Math.floor(i / perStep)])));
}

/** {@link mixedSteps} with one quantiser for each value. */
export function learntSteps(params: ReadonlyMap<ValueId, QuantParams>, o: StepOptions = {}): LearntSteps {
  const { steps, ...insertions } = mixedSteps(new Map([...params].map(([id, q]) => [id, [q]])), () => [], o);
  return { ...insertions, get steps() { return new Map([...steps].map(([id, [step]]) => [id, step])); } };
}

/**
 * Parameters with the steps that were learnt.
 * @param factor of each channel by weight value, where normalisation was folded into weights
 * @throws E404 for a step that is no positive number any more
 */
export function learntParams(
  params: ReadonlyMap<ValueId, QuantParams>, { steps }: LearntSteps, current: (p: Parameter) => Tensor, factor: ReadonlyMap<ValueId, Float32Array> = new Map(),
): Map<ValueId, QuantParams> {
  return new Map([...params].map(([id, q]) => {
    const step = steps.get(id);
    if (!step) return [id, q];
    const scale = (current(step).data as Float32Array).map((s, i) => s * (factor.get(id)?.[i] ?? 1));
    const bad = scale.find((s) => !(s > 0 && Number.isFinite(s)));
    if (bad !== undefined) {
      fail('E404', 'a step or a factor of normalisation is not positive any more', { node: step.name, found: String(bad), remedy: 'lower the learning rate' });
    }
    return [id, { ...q, scale }];
  }));
}

/**
 * The graph with everything that has parameters quantised on the compiler's grids, in float: what a bundle computes but for rounding. Values
 * keep their ids; `<id>` is what is quantised, its consumers read another. @param params of activations, one step each
 */
export function fakeQuantized(g: Graph, params: ReadonlyMap<ValueId, QuantParams>): Graph {
  const ids = new IdPool();
  for (const id of g.values.keys()) ids.reserve(id);
  const values = new Map(g.values);
  const quantized = new Map<ValueId, ValueId>();
  const after = (id: ValueId): Node[] => {
    const q = params.get(id);
    if (!q) return [];
    const { type, name } = valueOf(g, id);
    const made = (what: string, t: TensorType): ValueId => {
      const v = ids.fresh(`${id}.${what}`);
      values.set(v, { id: v, name: `${name}.${what}`, type: t, precision: FLOAT });
      return v;
    };
    const { lo, hi } = codeRange(q.scheme);
    const step = made('step', { dtype: 'f32', shape: [] });
    quantized.set(id, made('quantized', type));
    return [
      { op: 'const', inputs: [], outputs: [step], attrs: { data: tensor('f32', [], q.scale.slice(0, 1)) }, origin: name },
      { op: 'lsq', inputs: [id, step], outputs: [quantized.get(id)!], attrs: { lo: lo - q.zeroPoint[0], hi: hi - q.zeroPoint[0], gradientScale: 1 }, origin: name },
    ];
  };
  const read = (id: ValueId): ValueId => quantized.get(id) ?? id;
  const first = g.inputs.flatMap(after);
  const nodes = g.nodes.flatMap((n): Node[] => [{ ...n, inputs: n.inputs.map(read) }, ...n.outputs.flatMap(after)]);
  return { ...g, values, nodes: [...first, ...nodes] };
}
