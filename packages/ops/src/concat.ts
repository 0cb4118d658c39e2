/** Tensors joined along one axis. */
import { sameShape } from '@bitloom/tensor';
import { z } from 'zod';
import { natural } from './attrs.js';
import { sliceAxis } from './compose.js';
import { byNest, defineOp, mismatch } from './def.js';
import { asCodes, copyRegion } from './movement.js';
import { expectAxis, expectCount, expectSameDType, showTypes } from './shapes.js';

const attrs = z.strictObject({ axis: natural });
export type ConcatAttrs = z.infer<typeof attrs>;

export const concat = defineOp<ConcatAttrs>({
  name: 'concat',
  summary: 'the operands joined along `axis`',
  attrs,
  infer(ins, { axis }, origin) {
    expectCount(ins, 'concat', origin, 1, Infinity);
    expectSameDType(ins, 'concat', origin);
    expectAxis(axis, ins[0].shape.length, 'concat', origin);
    const rest = (shape: readonly number[]): number[] => shape.map((n, a) => (a === axis ? 0 : n));
    if (ins.some((t) => !sameShape(rest(t.shape), rest(ins[0].shape)))) {
      mismatch(origin, 'concat', showTypes(ins), `shapes that differ along axis ${axis} only`);
    }
    const total = ins.reduce((n, t) => n + t.shape[axis], 0);
    return [{ dtype: ins[0].dtype, shape: ins[0].shape.map((n, a) => (a === axis ? total : n)) }];
  },
  gradient(b, { inputs, attrs: { axis }, cotangents: [dy] }) {
    let start = 0;
    return inputs.map((x) => {
      const n = b.shapeOf(x)[axis];
      start += n;
      return sliceAxis(b, dy!, axis, start - n, n);
    });
  },
  ...byNest<ConcatAttrs>((b, ins, [output], { axis }) => {
    let start = 0;
    for (const input of ins) {
      const [x, y] = asCodes(input, output);
      copyRegion(b, x.shape, { view: x, base: 0, strides: x.strides }, { view: y, base: start * y.strides[axis], strides: y.strides });
      start += x.shape[axis];
    }
  }),
});
