/** Position of the largest or smallest element along an axis. NaN is never chosen over a number before it. */
import { e } from '@bitloom/kernel-spec';
import { z } from 'zod';
import { natural } from './attrs.js';
import { byNest, defineOp, logicalType, mismatch, type OpDef } from './def.js';
import { lessOrEqual, lessThan } from './integer.js';
import { expectAxis, expectClass, expectCount, showType } from './shapes.js';

const attrs = z.strictObject({ axis: natural, keepdims: z.boolean(), last: z.boolean() });
export type ArgAttrs = z.infer<typeof attrs>;

const argOp = (name: string, which: string, sign: 1 | -1): OpDef =>
  defineOp<ArgAttrs>({
    name,
    summary: `index (i64) of the ${which} element along \`axis\`: the first, or the last where \`last\``,
    attrs,
    infer(ins, { axis, keepdims }, origin) {
      expectCount(ins, name, origin, 1);
      expectClass(ins[0], 'numeric', name, origin);
      const { shape } = ins[0];
      expectAxis(axis, shape.length, name, origin);
      if (shape[axis] === 0) mismatch(origin, name, showType(ins[0]), `elements along axis ${axis}`);
      return [{ dtype: 'i64', shape: shape.flatMap((n, a) => (a !== axis ? [n] : keepdims ? [1] : [])) }];
    },
    gradient: null,
    ...byNest<ArgAttrs>((b, [x], [y], { axis, keepdims, last }) => {
      const t = logicalType(x);
      const beats = last ? lessOrEqual : lessThan;
      b.loops(x.shape.map((n, a) => (a === axis ? 1 : n)), (index) => {
        const at = b.local(e.i32(0));
        const best = b.local(b.load(x, index));
        b.for(x.shape[axis], (i) => {
          const v = b.let(b.load(x, index.map((o, a) => (a === axis ? i : o))));
          const better = b.let(sign > 0 ? beats(t, best.value, v) : beats(t, v, best.value));
          at.set(e.select(better, i, at.value));
          best.set(e.select(better, v, best.value));
        });
        b.store(y, index.filter((_, a) => a !== axis || keepdims), e.cast('i64', at.value));
      });
    }),
  });

export const argOps: readonly OpDef[] = [argOp('arg_max', 'largest', 1), argOp('arg_min', 'smallest', -1)];
