/** Slices along one axis, chosen by an index tensor. Negative indices count from the end; what is out of range is clamped. */
import { z } from 'zod';
import { natural } from './attrs.js';
import { reshapeTo, scatterAddAxis } from './compose.js';
import { byNest, defineOp, mismatch } from './def.js';
import { asCodes, axisIndex } from './movement.js';
import { expectAxis, expectCount, expectIndex, showTypes } from './shapes.js';

const attrs = z.strictObject({ axis: natural });
export type GatherAttrs = z.infer<typeof attrs>;

export const gather = defineOp<GatherAttrs>({
  name: 'gather',
  summary: 'x[…, index, …]: the index tensor replaces `axis`',
  attrs,
  infer(ins, { axis }, origin) {
    expectCount(ins, 'gather', origin, 2);
    const [x, index] = ins;
    expectIndex(index, 'gather', origin);
    expectAxis(axis, x.shape.length, 'gather', origin);
    if (x.shape[axis] === 0 && !index.shape.includes(0)) mismatch(origin, 'gather', showTypes(ins), `elements along axis ${axis}`);
    return [{ dtype: x.dtype, shape: [...x.shape.slice(0, axis), ...index.shape, ...x.shape.slice(axis + 1)] }];
  },
  gradient(b, { inputs: [x, index], attrs: { axis }, cotangents: [dy] }) {
    const shape = b.shapeOf(x);
    const n = b.shapeOf(index).reduce((p, d) => p * d, 1);
    const flat = reshapeTo(b, dy!, shape.map((d, a) => (a === axis ? n : d)));
    return [scatterAddAxis(b, flat, axis, reshapeTo(b, index, [n]), shape[axis]), null];
  },
  ...byNest<GatherAttrs>((b, [input, index], [output], { axis }) => {
    const [x, y] = asCodes(input, output);
    b.loops(x.shape.slice(0, axis), (before) => b.loops(index.shape, (i) => {
      const at = axisIndex(b, b.load(index, i), x.shape[axis]);
      b.loops(x.shape.slice(axis + 1), (after) => b.store(y, [...before, ...i, ...after], b.load(x, [...before, at, ...after])));
    }));
  }),
});
