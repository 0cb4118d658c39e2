/**
 * Rounding to equal steps of [0, 1] with a straight-through gradient: the quantiser of DoReFa (Zhou et al., arXiv 1606.06160, equations
 * 5 and 6), from which {@link dorefaWeights} builds that of weights.
 */
import type { GraphBuilder, ValueId } from '@bitloom/ir';
import { e } from '@bitloom/kernel-spec';
import { z } from 'zod';
import { div, reduceSum, scale, shift } from './compose.js';
import { byScalar, defineOp } from './def.js';
import { constantOf } from './integer.js';
import { inferLikeFirst } from './straight-through.js';

const attrs = z.strictObject({ bits: z.number().int().min(1).max(8) });
export type LevelsAttrs = z.infer<typeof attrs>;

export const levels = defineOp<LevelsAttrs>({
  name: 'levels',
  summary: 'round(n·x)/n, n = 2^`bits` − 1; the gradient passes through',
  attrs,
  infer: (ins, _attrs, origin) => inferLikeFirst(ins, 'levels', origin, 1),
  gradient: (_b, { cotangents: [dy] }) => [dy],
  ...byScalar(([x], { bits }, t) => {
    const n = constantOf(t, 2 ** bits - 1);
    return e.div(e.nearest(e.mul(x, n)), n);
  }),
});

/** DoReFa weights: 2·levels(tanh w/(2·max|tanh w|) + ½) − 1; at 1 bit sign(w)·mean|w| (equations 8 to 10). */
export function dorefaWeights(b: GraphBuilder, w: ValueId, bits: number): ValueId {
  const axes = b.shapeOf(w).map((_, i) => i);
  const size = b.add('abs', [w]);
  if (bits === 1) return b.add('binarize', [w, scale(b, reduceSum(b, size, axes, false), 1 / b.shapeOf(w).reduce((p, d) => p * d, 1))]);
  const squashed = b.add('tanh', [w]);
  const most = b.add('reduce_max', [b.add('abs', [squashed])], { axes, keepdims: false });
  const unit = shift(b, scale(b, div(b, squashed, most), 0.5), 0.5);
  return shift(b, scale(b, b.add('levels', [unit], { bits }), 2), -1);
}
