/**
 * The k largest (or smallest) values along an axis, best first, and their i64 indices; the lower index wins ties. NaN comes
 * after all numbers.
 */
import { type Expr, e, scalarOf } from '@bitloom/kernel-spec';
import { z } from 'zod';
import { natural } from './attrs.js';
import { zerosLike } from './compose.js';
import { byNest, defineOp, logicalType, mismatch } from './def.js';
import { expectAxis, expectClass, expectCount, showType } from './shapes.js';

const attrs = z.strictObject({ axis: natural, k: natural, largest: z.boolean(), sorted: z.boolean() });
/** `sorted: false` allows any order; the result is sorted all the same. */
export type TopkAttrs = z.infer<typeof attrs>;

export const topk = defineOp<TopkAttrs>({
  name: 'topk',
  summary: 'the k largest or smallest values along an axis with their indices, lower index first on ties',
  attrs,
  infer(ins, { axis, k }, origin) {
    expectCount(ins, 'topk', origin, 1);
    const { dtype, shape } = ins[0];
    expectClass(ins[0], 'numeric', 'topk', origin);
    expectAxis(axis, shape.length, 'topk', origin);
    if (k > shape[axis]) mismatch(origin, 'topk', `k = ${k} of ${showType(ins[0])}`, `k of at most ${shape[axis]}`);
    const out = shape.map((d, a) => (a === axis ? k : d));
    return [{ dtype, shape: out }, { dtype: 'i64', shape: out }];
  },
  gradient: (b, { inputs: [x], outputs: [, indices], attrs: { axis }, cotangents: [dy] }) => [
    dy ? b.add('scatter_elements', [zerosLike(b, x), indices, dy], { axis, reduction: 'none' }) : null,
  ],
  // Selection: each round takes the best element that comes after the one taken before, in the total order by value, then index.
  ...byNest<TopkAttrs>((b, [x], [values, indices], { axis, k, largest }) => {
    const t = scalarOf(logicalType(x));
    const precedes = (v: Expr, w: Expr): Expr => {
      const better = largest ? e.gt(v, w) : e.lt(v, w);
      return t === 'f32' || t === 'f64' ? e.or(better, e.and(e.eq(v, v), e.ne(w, w))) : better;
    };
    b.loops(x.shape.map((d, a) => (a === axis ? 1 : d)), (index) => {
      const at = (i: Expr): Expr[] => index.map((v, a) => (a === axis ? i : v));
      const last = b.local(e.constant(t, 0));
      const lastAt = b.local(e.i32(-1));
      b.for(k, (rank) => {
        const best = b.local(last.value);
        const bestAt = b.local(e.i32(-1));
        b.for(x.shape[axis], (i) => {
          const v = b.let(b.load(x, at(i)));
          const follows = e.select(e.gt(i, lastAt.value), e.eq(precedes(v, last.value), e.i32(0)), precedes(last.value, v));
          const eligible = e.or(e.lt(lastAt.value, e.i32(0)), follows);
          b.if(e.and(eligible, e.or(e.lt(bestAt.value, e.i32(0)), precedes(v, best.value))), () => {
            best.set(v);
            bestAt.set(i);
          });
        });
        last.set(best.value);
        lastAt.set(bestAt.value);
        b.store(values, at(rank), best.value);
        b.store(indices, at(rank), e.cast('i64', bestAt.value));
      });
    });
  }),
});
