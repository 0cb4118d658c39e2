/** Same elements in row-major order under another shape. Sizes are explicit: ONNX's 0 and −1 are resolved at import. */
import { e, type Expr } from '@bitloom/kernel-spec';
import { elementCount } from '@bitloom/tensor';
import { z } from 'zod';
import { naturals } from './attrs.js';
import { reshapeTo } from './compose.js';
import { byNest, defineOp, mismatch } from './def.js';
import { asCodes, isRowMajor, loopsInOrder, unravel } from './movement.js';
import { expectCount, showType } from './shapes.js';

const attrs = z.strictObject({ shape: naturals });
export type ReshapeAttrs = z.infer<typeof attrs>;

export const reshape = defineOp<ReshapeAttrs>({
  name: 'reshape',
  summary: 'the same elements, in row-major order, under the shape `shape`',
  attrs,
  infer(ins, { shape }, origin) {
    expectCount(ins, 'reshape', origin, 1);
    if (elementCount(ins[0].shape) !== elementCount(shape, origin)) {
      mismatch(origin, 'reshape', showType(ins[0]), `as many elements as [${shape.join(',')}]`);
    }
    return [{ dtype: ins[0].dtype, shape }];
  },
  gradient: (b, { inputs: [x], cotangents: [dy] }) => [reshapeTo(b, dy!, b.shapeOf(x))],
  ...byNest<ReshapeAttrs>((b, [input], [output]) => {
    const [x, y] = asCodes(input, output);
    if (isRowMajor(x) && isRowMajor(y)) {
      b.for(elementCount(y.shape), (i) => b.storeAt(y, i, b.loadAt(x, i)));
      return;
    }
    loopsInOrder(b, y, (index) => {
      const at = y.shape.reduce<Expr>((sum, d, a) => e.add(e.mul(sum, e.i32(d)), index[a]), e.i32(0));
      b.store(y, index, b.load(x, unravel(b.let(at), x.shape)));
    });
  }),
});
