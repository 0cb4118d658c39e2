/**
 * What fake quantisers have in common: y has the shape of x, parameters broadcast to it, and gradients pass through the rounding as if
 * it were not there (the straight-through estimator, Bengio et al., arXiv 1308.3432).
 */
import type { GraphBuilder, TensorType, ValueId } from '@bitloom/ir';
import { scale, sumToShape } from './compose.js';
import { mismatch } from './def.js';
import { broadcastAll, expectClass, expectCount, expectSameDType, showTypes } from './shapes.js';

/** Types of a fake quantiser of x and further float operands. @throws E204 */
export function inferLikeFirst(ins: readonly TensorType[], op: string, origin: string, min: number, max = min): readonly TensorType[] {
  expectCount(ins, op, origin, min, max);
  expectSameDType(ins, op, origin);
  expectClass(ins[0], 'float', op, origin);
  if (broadcastAll(ins, op, origin).join() !== ins[0].shape.join()) mismatch(origin, op, showTypes(ins), 'parameters that broadcast to the first operand');
  return [ins[0]];
}

/** Cotangent of a parameter from that of every element, times `gradientScale`. */
export const parameterGradient = (b: GraphBuilder, d: ValueId, parameter: ValueId, gradientScale: number): ValueId => {
  const sum = sumToShape(b, d, b.shapeOf(parameter));
  return gradientScale === 1 ? sum : scale(b, sum, gradientScale);
};
