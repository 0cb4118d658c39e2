/**
 * Fake quantisation with a learnt step s (LSQ, Esser et al., arXiv 1902.08153, equations 1 to 3) and, with a third operand, a learnt
 * offset o (LSQ+, Bhalgat et al., arXiv 2004.09576, equations 3 and 4). With r = (x − o)/s and q its code:
 * ∂y/∂x = 1 and ∂y/∂s = q − r where lo ≤ r ≤ hi, else 0 and q; ∂y/∂o = 1 − ∂y/∂x.
 */
import type { ValueId } from '@bitloom/ir';
import { e } from '@bitloom/kernel-spec';
import { z } from 'zod';
import { div, gated, mul, sub } from './compose.js';
import { byScalar, defineOp } from './def.js';
import { constantOf } from './integer.js';
import { inferLikeFirst, parameterGradient } from './straight-through.js';

const attrs = z.strictObject({
  /** Smallest and largest code. */
  lo: z.number().int(),
  hi: z.number().int(),
  /** Factor of the gradients of s and o; the paper's is 1/√(elements · hi). */
  gradientScale: z.number().positive(),
});
export type LsqAttrs = z.infer<typeof attrs>;

export const lsq = defineOp<LsqAttrs>({
  name: 'lsq',
  summary: 's·clip(round((x − o)/s), `lo`, `hi`) + o; gradients pass through the rounding, those of s and o times `gradientScale`',
  attrs,
  infer: (ins, _attrs, origin) => inferLikeFirst(ins, 'lsq', origin, 2, 3),
  gradient(b, { inputs: [x, s, o], outputs: [y], attrs: { lo, hi, gradientScale }, cotangents: [dy] }) {
    const v = o === undefined ? x : sub(b, x, o);
    const r = div(b, v, s);
    const inside = b.add('equal', [r, b.add('clip', [r], { min: lo, max: hi })]);
    const dx = gated(b, inside, dy!);
    const yv = o === undefined ? y : sub(b, y, o);
    const perElement = mul(b, dy!, sub(b, yv, gated(b, inside, v)));
    const ds = div(b, parameterGradient(b, perElement, s, gradientScale), s);
    const result: (ValueId | null)[] = [dx, ds];
    if (o !== undefined) result.push(parameterGradient(b, sub(b, dy!, dx), o, gradientScale));
    return result;
  },
  ...byScalar(([x, s, o], { lo, hi }, t) => {
    const r = e.div(o === undefined ? x : e.sub(x, o), s);
    const q = e.pmin(e.pmax(e.nearest(r), constantOf(t, lo)), constantOf(t, hi));
    const y = e.mul(q, s);
    return o === undefined ? y : e.add(y, o);
  }),
});
