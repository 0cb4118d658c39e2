/** Slices chosen by tuples of indices: the index tensor's last axis holds the tuples (indices as in gather). */
import type { GraphBuilder, ValueId } from '@bitloom/ir';
import { e } from '@bitloom/kernel-spec';
import { sameShape, tensorOf } from '@bitloom/tensor';
import { z } from 'zod';
import { natural } from './attrs.js';
import { broadcastTo, castTo, zerosLike } from './compose.js';
import { byNest, defineOp, mismatch } from './def.js';
import { asCodes, axisIndex } from './movement.js';
import { expectCount, expectIndex, showTypes } from './shapes.js';

const attrs = z.strictObject({ batchDims: natural });
export type GatherNdAttrs = z.infer<typeof attrs>;

/** The same tuples, made absolute: preceded by their position along the batch axes. */
function withBatch(b: GraphBuilder, index: ValueId, batchDims: number): ValueId {
  if (batchDims === 0) return index;
  const shape = [...b.shapeOf(index).slice(0, -1), 1];
  const position = (a: number): ValueId => {
    const iota = tensorOf('i64', shape.map((n, d) => (d === a ? n : 1)), Array.from({ length: shape[a] }, (_, i) => i));
    return broadcastTo(b, b.const(iota, 'index'), shape);
  };
  const batch = Array.from({ length: batchDims }, (_, a) => position(a));
  return b.add('concat', [...batch, castTo(b, index, 'i64')], { axis: shape.length - 1 });
}

export const gatherNd = defineOp<GatherNdAttrs>({
  name: 'gather_nd',
  summary: 'x at the tuples of indices in the last axis of index, `batchDims` leading axes shared',
  attrs,
  infer(ins, { batchDims }, origin) {
    expectCount(ins, 'gather_nd', origin, 2);
    const [x, index] = ins;
    expectIndex(index, 'gather_nd', origin);
    const k = index.shape.at(-1) ?? 0;
    const fits = k >= 1 && batchDims < index.shape.length && batchDims + k <= x.shape.length
      && sameShape(x.shape.slice(0, batchDims), index.shape.slice(0, batchDims))
      && (!x.shape.slice(batchDims, batchDims + k).includes(0) || index.shape.includes(0));
    if (!fits) mismatch(origin, 'gather_nd', showTypes(ins), `tuples for the axes of x after ${batchDims} shared ones`);
    return [{ dtype: x.dtype, shape: [...index.shape.slice(0, -1), ...x.shape.slice(batchDims + k)] }];
  },
  gradient: (b, { inputs: [x, index], attrs: { batchDims }, cotangents: [dy] }) =>
    [b.add('scatter_nd', [zerosLike(b, x), withBatch(b, index, batchDims), dy!], { reduction: 'add' }), null],
  ...byNest<GatherNdAttrs>((b, [input, index], [output], { batchDims }) => {
    const [x, y] = asCodes(input, output);
    const k = index.shape[index.shape.length - 1];
    b.loops(index.shape.slice(0, -1), (i) => {
      const at = Array.from({ length: k }, (_, j) => axisIndex(b, b.load(index, [...i, e.i32(j)]), x.shape[batchDims + j]));
      b.loops(x.shape.slice(batchDims + k), (rest) => b.store(y, [...i, ...rest], b.load(x, [...i.slice(0, batchDims), ...at, ...rest])));
    });
  }),
});
