/** A constant tensor. Lowering turns its value into a constant buffer, so it has no kernel. */
import { fail } from '@bitloom/diagnostics';
import { z } from 'zod';
import { tensorAttr } from './attrs.js';
import { defineOp } from './def.js';
import { expectCount } from './shapes.js';

export const constant = defineOp({
  name: 'const',
  summary: 'the tensor `data`',
  attrs: z.strictObject({ data: tensorAttr }),
  infer(ins, { data }, origin) {
    expectCount(ins, 'const', origin, 0);
    return [{ dtype: data.dtype, shape: data.shape }];
  },
  evaluate: (_ins, { data }) => [data],
  gradient: () => [],
  lower: () => fail('E901', 'constants are buffers, not kernel calls'),
  scalar: null,
  channelsLast: false,
  accumulates: null,
});
