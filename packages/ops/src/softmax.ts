/** Softmax and its logarithm along one axis, with the maximum subtracted first. Sums are sequential along the axis. */
import type { TensorType } from '@bitloom/ir';
import { e, type Expr, type NestBuilder, type View } from '@bitloom/kernel-spec';
import { z } from 'zod';
import { natural } from './attrs.js';
import { mul, reduceSum, sub } from './compose.js';
import { byNest, defineOp, logicalType } from './def.js';
import { callIn, constantOf } from './integer.js';
import { expectAxis, expectClass, expectCount } from './shapes.js';

const attrs = z.strictObject({ axis: natural });
export type SoftmaxAttrs = z.infer<typeof attrs>;

const infer = (name: string) => (ins: readonly TensorType[], { axis }: SoftmaxAttrs, origin: string): TensorType[] => {
  expectCount(ins, name, origin, 1);
  expectClass(ins[0], 'float', name, origin);
  expectAxis(axis, ins[0].shape.length, name, origin);
  return [ins[0]];
};

/** For each line along `axis`: its elements by position, and their maximum. */
function lines(b: NestBuilder, x: View, axis: number, body: (at: (i: Expr) => Expr[], max: Expr) => void): void {
  b.loops(x.shape.map((n, a) => (a === axis ? Math.min(n, 1) : n)), (index) => {
    const at = (i: Expr): Expr[] => index.map((o, a) => (a === axis ? i : o));
    const max = b.local(constantOf(logicalType(x), -Infinity));
    b.for(x.shape[axis], (i) => max.set(e.max(max.value, b.load(x, at(i)))));
    body(at, max.value);
  });
}

export const softmax = defineOp<SoftmaxAttrs>({
  name: 'softmax',
  summary: 'exp(x − m) / Σ exp(x − m) along `axis`, m the maximum',
  attrs,
  infer: infer('softmax'),
  gradient(b, { outputs: [y], attrs: { axis }, cotangents: [dy] }) {
    return [mul(b, y, sub(b, dy!, reduceSum(b, mul(b, dy!, y), [axis], true)))];
  },
  ...byNest<SoftmaxAttrs>((b, [x], [y], { axis }) => {
    const t = logicalType(x);
    lines(b, x, axis, (at, max) => {
      const exp = (i: Expr): Expr => callIn(t, 'exp', e.sub(b.load(x, at(i)), max));
      const sum = b.local(constantOf(t, 0));
      // The output holds the exponentials meanwhile.
      b.for(x.shape[axis], (i) => {
        const v = b.let(exp(i));
        b.store(y, at(i), v);
        sum.set(e.add(sum.value, v));
      });
      b.for(x.shape[axis], (i) => b.store(y, at(i), e.div(b.load(y, at(i)), sum.value)));
    });
  }),
  accumulates: () => true,
});

export const logSoftmax = defineOp<SoftmaxAttrs>({
  name: 'log_softmax',
  summary: 'x − m − log Σ exp(x − m) along `axis`, m the maximum',
  attrs,
  infer: infer('log_softmax'),
  gradient(b, { outputs: [y], attrs: { axis }, cotangents: [dy] }) {
    return [sub(b, dy!, mul(b, b.add('exp', [y]), reduceSum(b, dy!, [axis], true)))];
  },
  ...byNest<SoftmaxAttrs>((b, [x], [y], { axis }) => {
    const t = logicalType(x);
    lines(b, x, axis, (at, max) => {
      const sum = b.local(constantOf(t, 0));
      b.for(x.shape[axis], (i) => sum.set(e.add(sum.value, callIn(t, 'exp', e.sub(b.load(x, at(i)), max)))));
      const log = b.let(callIn(t, 'log', sum.value));
      b.for(x.shape[axis], (i) => b.store(y, at(i), e.sub(e.sub(b.load(x, at(i)), max), log)));
    });
  }),
});
