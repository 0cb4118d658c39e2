import type { ValueId } from '@bitloom/ir';
import { compose } from '@bitloom/ops';
import type { OnnxNode } from '../node.js';

const { add, sub, mul, shift, square, reciprocal, reduceMean } = compose;

/** start, start + 1, … rank − 1 */
export const axesFrom = (start: number, rank: number): number[] => Array.from({ length: Math.max(0, rank - start) }, (_, i) => start + i);

/** (x − μ)/√(σ² + ε) over `axes`, with μ and 1/√(σ² + ε), both keeping their axes. */
export function standardize(n: OnnxNode, x: ValueId, axes: readonly number[], epsilon: number): { y: ValueId; mean: ValueId; inverse: ValueId } {
  const mean = reduceMean(n.b, x, axes, true);
  const centred = sub(n.b, x, mean);
  const variance = reduceMean(n.b, square(n.b, centred), axes, true);
  const inverse = reciprocal(n.b, n.op('sqrt', [shift(n.b, variance, epsilon)]));
  return { y: mul(n.b, centred, inverse), mean, inverse };
}

/** One value per channel, shaped to broadcast over [N, C, spatial…]. */
export function perChannel(n: OnnxNode, v: ValueId, rank: number): ValueId {
  const shape = n.b.shapeOf(v);
  return n.reshape(v, [...shape, ...new Array<number>(Math.max(0, rank - 1 - shape.length)).fill(1)]);
}

/** y·scale + bias, either left out where null. */
export const affine = (n: OnnxNode, y: ValueId, scale: ValueId | null, bias: ValueId | null): ValueId => {
  const scaled = scale === null ? y : mul(n.b, y, scale);
  return bias === null ? scaled : add(n.b, scaled, bias);
};
