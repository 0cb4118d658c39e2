/** Slices replaced or updated at tuples of indices, in row-major order of the index tensor (indices as in gather). */
import { e } from '@bitloom/kernel-spec';
import { sameShape } from '@bitloom/tensor';
import { z } from 'zod';
import { byNest, defineOp, logicalType, mismatch } from './def.js';
import { asCodes, axisIndex } from './movement.js';
import { combine, reduction, scatterGradient, updatePair } from './scatter.js';
import { expectCount, expectIndex, expectUpdatable, showTypes } from './shapes.js';

const attrs = z.strictObject({ reduction });
export type ScatterNdAttrs = z.infer<typeof attrs>;

export const scatterNd = defineOp<ScatterNdAttrs>({
  name: 'scatter_nd',
  summary: 'x, with updates put (by `reduction`) at the tuples of indices in the last axis of index',
  attrs,
  infer(ins, { reduction: r }, origin) {
    expectCount(ins, 'scatter_nd', origin, 3);
    const [x, index, updates] = ins;
    expectIndex(index, 'scatter_nd', origin);
    expectUpdatable(x, updates, r, 'scatter_nd', origin);
    const k = index.shape.at(-1) ?? 0;
    const fits = k >= 1 && k <= x.shape.length && sameShape(updates.shape, [...index.shape.slice(0, -1), ...x.shape.slice(k)])
      && (!x.shape.slice(0, k).includes(0) || index.shape.includes(0));
    if (!fits) mismatch(origin, 'scatter_nd', showTypes(ins), 'one update for every tuple of indices');
    return [x];
  },
  gradient(b, { inputs: [x, index, u], outputs: [y], attrs: { reduction: r }, cotangents: [dy] }) {
    const [dx, du] = scatterGradient(b, r, [x, u, y, dy!],
      (into, updates, how) => b.add('scatter_nd', [into, index, updates], { reduction: how }),
      (from) => b.add('gather_nd', [from, index], { batchDims: 0 }));
    return [dx, null, du];
  },
  ...byNest<ScatterNdAttrs>((b, [x, index, updates], [y], { reduction: r }) => {
    const [from, to] = asCodes(x, y);
    b.elementwise(to, [from], ([v]) => v);
    const [u, out] = updatePair(r, updates, y);
    const k = index.shape[index.shape.length - 1];
    b.loops(index.shape.slice(0, -1), (i) => {
      const at = Array.from({ length: k }, (_, j) => axisIndex(b, b.load(index, [...i, e.i32(j)]), x.shape[j]));
      b.loops(x.shape.slice(k), (rest) => {
        const place = [...at, ...rest];
        b.store(out, place, combine(r, logicalType(out), b.load(out, place), b.load(u, [...i, ...rest])));
      });
    });
  }),
});
