/** Single elements along one axis replaced or updated, in row-major order of the index tensor (indices as in gather). */
import { sameShape } from '@bitloom/tensor';
import { z } from 'zod';
import { natural } from './attrs.js';
import { byNest, defineOp, logicalType, mismatch } from './def.js';
import { asCodes, axisIndex } from './movement.js';
import { combine, reduction, scatterGradient, updatePair } from './scatter.js';
import { expectCount, expectElementIndex, expectUpdatable, showTypes } from './shapes.js';

const attrs = z.strictObject({ axis: natural, reduction });
export type ScatterElementsAttrs = z.infer<typeof attrs>;

export const scatterElements = defineOp<ScatterElementsAttrs>({
  name: 'scatter_elements',
  summary: 'x, with updates[i₀…] put (by `reduction`) at i₀… with i at `axis` replaced by index[i₀…]',
  attrs,
  infer(ins, { axis, reduction: r }, origin) {
    expectCount(ins, 'scatter_elements', origin, 3);
    const [x, index, updates] = ins;
    expectElementIndex(x, index, axis, 'scatter_elements', origin);
    expectUpdatable(x, updates, r, 'scatter_elements', origin);
    if (!sameShape(index.shape, updates.shape)) mismatch(origin, 'scatter_elements', showTypes(ins), 'updates of the shape of index');
    return [x];
  },
  gradient(b, { inputs: [x, index, u], outputs: [y], attrs: { axis, reduction: r }, cotangents: [dy] }) {
    const [dx, du] = scatterGradient(b, r, [x, u, y, dy!],
      (into, updates, how) => b.add('scatter_elements', [into, index, updates], { axis, reduction: how }),
      (from) => b.add('gather_elements', [from, index], { axis }));
    return [dx, null, du];
  },
  ...byNest<ScatterElementsAttrs>((b, [x, index, updates], [y], { axis, reduction: r }) => {
    const [from, to] = asCodes(x, y);
    b.elementwise(to, [from], ([v]) => v);
    const [u, out] = updatePair(r, updates, y);
    b.loops(index.shape, (i) => {
      const at = axisIndex(b, b.load(index, i), x.shape[axis]);
      const place = i.map((v, a) => (a === axis ? at : v));
      b.store(out, place, combine(r, logicalType(out), b.load(out, place), b.load(u, i)));
    });
  }),
});
