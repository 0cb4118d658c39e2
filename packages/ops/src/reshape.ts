/** Same elements in row-major order under another shape. Sizes are explicit: ONNX's 0 and −1 are resolved at import. */
import { type Expr, e } from '@bitloom/kernel-spec';
import { elementCount } from '@bitloom/tensor';
import { z } from 'zod';
import { naturals } from './attrs.js';
import { reshapeTo } from './compose.js';
import { defineOp, mismatch } from './def.js';
import { isRowMajor, movement, unravel } from './movement.js';
import { expectCount, showType } from './shapes.js';

const attrs = z.strictObject({ shape: naturals });
export type ReshapeAttrs = z.infer<typeof attrs>;

export const reshape = defineOp<ReshapeAttrs>({
  name: 'reshape',
  summary: 'the same elements, in row-major order, under the shape `shape`',
  attrs,
  infer(ins, { shape }, origin) {
    expectCount(ins, 'reshape', origin, 1);
    if (elementCount(ins[0].shape) !== elementCount(shape, origin)) mismatch(origin, 'reshape', showType(ins[0]), `as many elements as [${shape.join(',')}]`);
    return [{ dtype: ins[0].dtype, shape }];
  },
  gradient: (b, { inputs: [x], cotangents: [dy] }) => [reshapeTo(b, dy!, b.shapeOf(x))],
  ...movement<ReshapeAttrs>((b, [x], y) => {
    const n = elementCount(y.shape);
    if (isRowMajor(x) && isRowMajor(y)) {
      b.for(n, (i) => b.storeAt(y, i, b.loadAt(x, i)));
      return;
    }
    b.loops(y.shape, (index) => {
      const at = y.shape.reduce<Expr>((sum, d, a) => e.add(e.mul(sum, e.i32(d)), index[a]), e.i32(0));
      b.store(y, index, b.load(x, unravel(b.let(at), x.shape)));
    });
  }),
});
