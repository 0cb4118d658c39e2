/** Matrix product of the last two axes, batch axes broadcast numpy-style: a (…, M, K) · b (…, K, N). Sums run in the order of K. */
import type { GraphBuilder, ValueId } from '@bitloom/ir';
import { type Expr, type View, e, scalarOf } from '@bitloom/kernel-spec';
import { type NoAttrs, none } from './attrs.js';
import { sumToShape, transpose } from './compose.js';
import { byNest, defineOp, logicalType, mismatch } from './def.js';
import { broadcastShape, expectClass, expectCount, expectSameDType, showTypes } from './shapes.js';

/** Last two axes exchanged. */
function transposed(b: GraphBuilder, x: ValueId): ValueId {
  const rank = b.shapeOf(x).length;
  return transpose(b, x, b.shapeOf(x).map((_, i) => (i < rank - 2 ? i : 2 * rank - 3 - i)));
}

/** Batch index of an operand whose batch axes are broadcast. */
const batchOf = (v: View, index: readonly Expr[]): Expr[] =>
  v.shape.slice(0, -2).map((d, a) => (d === 1 ? e.i32(0) : index[index.length - (v.shape.length - 2) + a]));

export const matmul = defineOp<NoAttrs>({
  name: 'matmul',
  summary: 'matrix product of the last two axes, batch axes broadcast',
  attrs: none,
  infer(ins, _attrs, origin) {
    expectCount(ins, 'matmul', origin, 2);
    expectClass(ins[0], 'numeric', 'matmul', origin);
    expectSameDType(ins, 'matmul', origin);
    const [a, b] = ins.map((t) => t.shape);
    const batch = broadcastShape(a.slice(0, -2), b.slice(0, -2));
    if (a.length < 2 || b.length < 2 || a.at(-1) !== b.at(-2) || !batch) {
      mismatch(origin, 'matmul', showTypes(ins), 'a (…, M, K) and b (…, K, N) with batch axes that broadcast');
    }
    return [{ dtype: ins[0].dtype, shape: [...batch, a.at(-2)!, b.at(-1)!] }];
  },
  gradient: (b, { inputs: [x, y], cotangents: [d] }) => [
    sumToShape(b, b.add('matmul', [d!, transposed(b, y)]), b.shapeOf(x)),
    sumToShape(b, b.add('matmul', [transposed(b, x), d!]), b.shapeOf(y)),
  ],
  ...byNest<NoAttrs>((b, [x, w], [y]) => {
    const [k, n] = w.shape.slice(-2);
    const zero = e.constant(scalarOf(logicalType(x)), 0);
    b.loops(y.shape.slice(0, -1), (rows) => {
      const [batch, m] = [rows.slice(0, -1), rows[rows.length - 1]];
      const left = (i: Expr): Expr => b.load(x, [...batchOf(x, batch), m, i]);
      const right = (i: Expr, j: Expr): Expr => b.load(w, [...batchOf(w, batch), i, j]);
      if (n === 1) {
        b.for(n, (j) => {
          const sum = b.local(zero);
          b.for(k, (i) => sum.set(e.add(sum.value, e.mul(left(i), right(i, j)))));
          b.store(y, [...rows, j], sum.value);
        });
        return;
      }
      // The innermost loop runs along a row of b and of the output, both contiguous.
      b.for(n, (j) => b.store(y, [...rows, j], zero));
      b.for(k, (i) => {
        const factor = b.let(left(i));
        b.for(n, (j) => b.store(y, [...rows, j], e.add(b.load(y, [...rows, j]), e.mul(factor, right(i, j)))));
      });
    });
  }),
  accumulates: ({ outputs: [y] }) => y.shape[y.shape.length - 1] > 1,
});
