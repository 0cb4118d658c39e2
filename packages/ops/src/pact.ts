/**
 * Fake quantisation of activations with a learnt clipping level α (PACT, Choi et al., arXiv 1805.06085, equations 1 to 3): ∂y/∂x = 1
 * where 0 ≤ x < α, ∂y/∂α = 1 where x ≥ α, else 0.
 */
import { e } from '@bitloom/kernel-spec';
import { z } from 'zod';
import { greaterEqual, gated, scalarLike, sub } from './compose.js';
import { byScalar, defineOp } from './def.js';
import { constantOf } from './integer.js';
import { inferLikeFirst, parameterGradient } from './straight-through.js';

const attrs = z.strictObject({ bits: z.number().int().min(1).max(8) });
export type PactAttrs = z.infer<typeof attrs>;

export const pact = defineOp<PactAttrs>({
  name: 'pact',
  summary: 'round(clip(x, 0, α)·n/α)·α/n, n = 2^`bits` − 1; gradients pass through the rounding',
  attrs,
  infer: (ins, _attrs, origin) => inferLikeFirst(ins, 'pact', origin, 2),
  gradient(b, { inputs: [x, alpha], cotangents: [dy] }) {
    const clipped = gated(b, greaterEqual(b, x, alpha), dy!);
    const positive = gated(b, greaterEqual(b, x, scalarLike(b, x, 0)), dy!);
    return [sub(b, positive, clipped), parameterGradient(b, clipped, alpha, 1)];
  },
  ...byScalar(([x, alpha], { bits }, t) => {
    const step = e.div(alpha, constantOf(t, 2 ** bits - 1));
    const clipped = e.pmin(e.pmax(x, constantOf(t, 0)), alpha);
    return e.mul(e.nearest(e.div(clipped, step)), step);
  }),
});
