/**
 * Quantisation-aware training: learnt steps (LSQ, arXiv 1902.08153) on the very grids of the compiler, so that what a network gives in
 * training is what its codes give afterwards.
 */
import { fail } from '@bitloom/diagnostics';
import type { GraphBuilder, ValueId } from '@bitloom/ir';
import { type QuantParams, codeRange } from '@bitloom/numerics';
import { type Tensor, elementCount, tensor } from '@bitloom/tensor';
import type { Parameter } from './step.js';
import type { Insertions } from './trainable.js';

export interface LearntSteps extends Insertions {
  /** One for each quantised value, by its id in the original graph, in its insertion order; shapes [] or, a step a channel, [channels, 1, …]. */
  readonly steps: ReadonlyMap<ValueId, Parameter>;
}

/**
 * Fake quantisers for the values that have parameters, beginning with these. Zero points stay: an offset between codes would be no integer.
 * The gradient of a step is scaled by 1/√(elements · largest code), elements those of a weight tensor or of one sample (LSQ, section 2.2).
 * @param params by value of the graph that {@link trainable} copies
 * @param rateScale factor of the learning rate of steps
 */
export function learntSteps(params: ReadonlyMap<ValueId, QuantParams>, { rateScale = 1 } = {}): LearntSteps {
  const steps = new Map<ValueId, Parameter>();
  const quantized = (b: GraphBuilder, id: ValueId, name: string, x: ValueId, elements: number): ValueId => {
    const q = params.get(id);
    if (!q) return x;
    const { scheme, scale, zeroPoint } = q;
    if (scheme.axis !== null && scheme.axis !== 0) fail('E901', 'steps are learnt for tensors and for their first axis', { node: name, found: `axis ${scheme.axis}` });
    let step = steps.get(id);
    if (!step) {
      const shape = scheme.axis === null ? [] : [scale.length, ...b.shapeOf(x).slice(1).map(() => 1)];
      const parameter = `${name}.step`;
      step = { id: b.input(parameter, { dtype: 'f32', shape }), name: parameter, initial: tensor('f32', shape, scale.slice()), rateScale, decay: 0 };
      steps.set(id, step);
    }
    if (scheme.signed && scheme.bits === 1) return b.add('binarize', [x, step.id]);
    if (zeroPoint.some((z) => z !== zeroPoint[0])) fail('E901', 'channels with zero points of their own', { node: name });
    const { lo, hi } = codeRange(scheme);
    const [from, to] = [lo - zeroPoint[0], hi - zeroPoint[0]];
    return b.add('lsq', [x, step.id], { lo: from, hi: to, gradientScale: 1 / Math.sqrt(elements * Math.max(1, to)) });
  };
  return {
    steps,
    weight: (b, layer, weight) => quantized(b, layer.weight, `${layer.name}.weight`, weight, elementCount(b.shapeOf(weight))),
    value: (b, id, value) => quantized(b, id, id, value, elementCount(b.shapeOf(value).slice(1))),
  };
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
