/**
 * Fake quantisation to ±s (XNOR-Net, Rastegari et al., arXiv 1603.05279, equations 5 and 6 with a given s; zero counts as positive).
 * ∂y/∂x = 1 where |x| ≤ 1, ∂y/∂s = ±1.
 */
import { e } from '@bitloom/kernel-spec';
import { none, type NoAttrs } from './attrs.js';
import { div, gated, mul } from './compose.js';
import { byScalar, defineOp } from './def.js';
import { constantOf } from './integer.js';
import { inferLikeFirst, parameterGradient } from './straight-through.js';

export const binarize = defineOp<NoAttrs>({
  name: 'binarize',
  summary: 'x ≥ 0 ? s : −s; the gradient passes through where |x| ≤ 1',
  attrs: none,
  infer: (ins, _attrs, origin) => inferLikeFirst(ins, 'binarize', origin, 2),
  gradient(b, { inputs: [x, s], outputs: [y], cotangents: [dy] }) {
    const inside = b.add('equal', [x, b.add('clip', [x], { min: -1, max: 1 })]);
    return [gated(b, inside, dy!), div(b, parameterGradient(b, mul(b, dy!, y), s, 1), s)];
  },
  ...byScalar(([x, s], _attrs, t) => e.select(e.ge(x, constantOf(t, 0)), s, e.neg(s))),
});
