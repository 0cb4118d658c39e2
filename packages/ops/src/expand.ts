/** Numpy broadcast to a full target shape. */
import { sameShape } from '@bitloom/tensor';
import { z } from 'zod';
import { naturals } from './attrs.js';
import { sumToShape } from './compose.js';
import { byNest, defineOp, mismatch } from './def.js';
import { asCodes } from './movement.js';
import { broadcastShape, expectCount, showType } from './shapes.js';

const attrs = z.strictObject({ shape: naturals });
export type ExpandAttrs = z.infer<typeof attrs>;

export const expand = defineOp<ExpandAttrs>({
  name: 'expand',
  summary: 'x broadcast to exactly `shape`',
  attrs,
  infer(ins, { shape }, origin) {
    expectCount(ins, 'expand', origin, 1);
    if (!sameShape(broadcastShape(ins[0].shape, shape) ?? [], shape)) {
      mismatch(origin, 'expand', showType(ins[0]), `a shape that broadcasts to [${shape.join(',')}]`);
    }
    return [{ dtype: ins[0].dtype, shape }];
  },
  gradient: (b, { inputs: [x], cotangents: [dy] }) => [sumToShape(b, dy!, b.shapeOf(x))],
  ...byNest<ExpandAttrs>((b, [input], [output]) => {
    const [x, y] = asCodes(input, output);
    b.elementwise(y, [x], ([v]) => v);
  }),
});
