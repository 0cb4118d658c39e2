/** Single elements along one axis, chosen by an index tensor of the output's shape (indices as in gather). */
import { z } from 'zod';
import { natural } from './attrs.js';
import { zerosLike } from './compose.js';
import { byNest, defineOp } from './def.js';
import { asCodes, axisIndex, loopsInOrder } from './movement.js';
import { expectCount, expectElementIndex } from './shapes.js';

const attrs = z.strictObject({ axis: natural });
export type GatherElementsAttrs = z.infer<typeof attrs>;

export const gatherElements = defineOp<GatherElementsAttrs>({
  name: 'gather_elements',
  summary: 'y[i₀…] = x[i₀… with i at `axis` replaced by index[i₀…]]',
  attrs,
  infer(ins, { axis }, origin) {
    expectCount(ins, 'gather_elements', origin, 2);
    expectElementIndex(ins[0], ins[1], axis, 'gather_elements', origin);
    return [{ dtype: ins[0].dtype, shape: ins[1].shape }];
  },
  gradient: (b, { inputs: [x, index], attrs: { axis }, cotangents: [dy] }) =>
    [b.add('scatter_elements', [zerosLike(b, x), index, dy!], { axis, reduction: 'add' }), null],
  ...byNest<GatherElementsAttrs>((b, [input, index], [output], { axis }) => {
    const [x, y] = asCodes(input, output);
    loopsInOrder(b, y, (i) => {
      const at = axisIndex(b, b.load(index, i), x.shape[axis]);
      b.store(y, i, b.load(x, i.map((v, a) => (a === axis ? at : v))));
    });
  }),
});
