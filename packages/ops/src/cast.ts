/** Conversion between element types. Floats to integers truncate and saturate (NaN gives 0); integers wrap. */
import { isFloat } from '@bitloom/tensor';
import { z } from 'zod';
import { dtype } from './attrs.js';
import { castTo } from './compose.js';
import { byScalar, defineOp } from './def.js';
import { convert } from './integer.js';
import { expectCount } from './shapes.js';

const attrs = z.strictObject({ to: dtype });
export type CastAttrs = z.infer<typeof attrs>;

export const cast = defineOp<CastAttrs>({
  name: 'cast',
  summary: 'x as element type `to`; to bool it is x ≠ 0',
  attrs,
  infer(ins, { to }, origin) {
    expectCount(ins, 'cast', origin, 1);
    return [{ dtype: to, shape: ins[0].shape }];
  },
  gradient: (b, { inputs: [x], cotangents: [dy] }) => {
    const { dtype: from } = b.typeOf(x);
    return [isFloat(from) ? castTo(b, dy!, from) : null];
  },
  ...byScalar(([x], { to }, _out, [from]) => convert(from, to, x)),
});
