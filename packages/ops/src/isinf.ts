/** Whether an element is infinite, of either or both signs. */
import { e } from '@bitloom/kernel-spec';
import { z } from 'zod';
import { byScalar, defineOp } from './def.js';
import { constantOf } from './integer.js';
import { expectClass, expectCount } from './shapes.js';

const attrs = z.strictObject({ negative: z.boolean(), positive: z.boolean() });
export type IsInfAttrs = z.infer<typeof attrs>;

export const isinf = defineOp<IsInfAttrs>({
  name: 'isinf',
  summary: 'whether x is −∞ (where `negative`) or +∞ (where `positive`)',
  attrs,
  infer(ins, _attrs, origin) {
    expectCount(ins, 'isinf', origin, 1);
    expectClass(ins[0], 'float', 'isinf', origin);
    return [{ dtype: 'bool', shape: ins[0].shape }];
  },
  gradient: null,
  ...byScalar(([x], { negative, positive }, _out, [t]) => {
    const is = (on: boolean, v: number) => (on ? e.eq(x, constantOf(t, v)) : e.i32(0));
    return e.or(is(negative, -Infinity), is(positive, Infinity));
  }),
});
