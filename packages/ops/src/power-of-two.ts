/**
 * Fake quantisation to zero and ±s·2^k, −`octaves` < k ≤ 0 (Przewlocka-Rus et al., arXiv 2203.05025; s takes the place of their largest
 * power). ∂y/∂x = 1 where |x| ≤ √2·s, the largest that rounds to s, else 0; ∂y/∂s = y/s − x/s there, else ±1.
 */
import { e } from '@bitloom/kernel-spec';
import { z } from 'zod';
import { div, gated, mul, sub } from './compose.js';
import { byScalar, defineOp } from './def.js';
import { callIn, constantOf } from './integer.js';
import { inferLikeFirst, parameterGradient } from './straight-through.js';

const attrs = z.strictObject({
  /** Number of powers; with both signs and zero, 2·octaves + 1 values. */
  octaves: z.number().int().min(1).max(64),
  gradientScale: z.number().positive(),
});
export type PowerOfTwoAttrs = z.infer<typeof attrs>;

export const powerOfTwo = defineOp<PowerOfTwoAttrs>({
  name: 'power_of_two',
  summary: 'the nearest, by exponent, of 0 and ±s·2^k, −`octaves` < k ≤ 0; gradients pass through the rounding, that of s times `gradientScale`',
  attrs,
  infer: (ins, _attrs, origin) => inferLikeFirst(ins, 'power_of_two', origin, 2),
  gradient(b, { inputs: [x, s], outputs: [y], attrs: { gradientScale }, cotangents: [dy] }) {
    const r = div(b, x, s);
    const inside = b.add('equal', [r, b.add('clip', [r], { min: -Math.SQRT2, max: Math.SQRT2 })]);
    const dx = gated(b, inside, dy!);
    const perElement = mul(b, dy!, sub(b, y, gated(b, inside, x)));
    return [dx, div(b, parameterGradient(b, perElement, s, gradientScale), s)];
  },
  ...byScalar(([x, s], { octaves }, t) => {
    const c = (v: number) => constantOf(t, v);
    const k = e.nearest(e.div(callIn(t, 'log', e.div(e.abs(x), s)), c(Math.LN2)));
    const size = e.mul(s, callIn(t, 'exp', e.mul(e.pmin(k, c(0)), c(Math.LN2))));
    return e.select(e.gt(k, c(-octaves)), e.select(e.lt(x, c(0)), e.neg(size), size), c(0));
  }),
});
