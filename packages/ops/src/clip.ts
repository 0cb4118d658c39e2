/** Clamping to constant bounds; NaN stays, and `max` wins where the bounds cross. */
import type { ValueId } from '@bitloom/ir';
import { e } from '@bitloom/kernel-spec';
import { isFloat } from '@bitloom/tensor';
import { z } from 'zod';
import { anyNumber } from './attrs.js';
import { greaterEqual, gated, scalarLike } from './compose.js';
import { byScalar, defineOp } from './def.js';
import { constantOf, limitsOf, maximum, minimum } from './integer.js';
import { expectClass, expectCount } from './shapes.js';

const bound = anyNumber.refine((v) => !Number.isNaN(v), 'NaN is no bound');
const attrs = z.strictObject({ min: bound, max: bound });
export type ClipAttrs = z.infer<typeof attrs>;

export const clip = defineOp<ClipAttrs>({
  name: 'clip',
  summary: 'min(max(x, `min`), `max`); derivative 1 on the bounds',
  attrs,
  infer(ins, _attrs, origin) {
    expectCount(ins, 'clip', origin, 1);
    expectClass(ins[0], 'numeric', 'clip', origin);
    return [ins[0]];
  },
  gradient(b, { inputs: [x], attrs: { min, max }, cotangents: [dy] }) {
    let dx: ValueId = dy!;
    if (min !== -Infinity) dx = gated(b, greaterEqual(b, x, scalarLike(b, x, min)), dx);
    if (max !== Infinity) dx = gated(b, greaterEqual(b, scalarLike(b, x, max), x), dx);
    return [dx];
  },
  ...byScalar(([x], { min, max }, _out, [t]) => {
    if (isFloat(t)) {
      const low = min === -Infinity ? x : e.pmax(x, constantOf(t, min));
      return max === Infinity ? low : e.pmin(low, constantOf(t, max));
    }
    const [lo, hi] = limitsOf(t).map(BigInt);
    const limit = (v: number) => constantOf(t, v <= Number(lo) ? lo : v >= Number(hi) ? hi : BigInt(v));
    return minimum(t, maximum(t, x, limit(Math.ceil(min))), limit(Math.floor(max)));
  }),
});
