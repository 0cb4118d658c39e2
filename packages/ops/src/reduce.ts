/**
 * Reductions over axes. Each result combines its elements in increasing row-major order, whatever the layout: sums are
 * sequential. An empty reduction gives the neutral element.
 */
import type { GraphBuilder, ValueId } from '@bitloom/ir';
import { e, type Expr, type NestBuilder, type View } from '@bitloom/kernel-spec';
import type { DType } from '@bitloom/tensor';
import { z } from 'zod';
import { naturals } from './attrs.js';
import { broadcastTo, castTo, div, masked, mul, reduceSum, reshapeTo, scalarLike } from './compose.js';
import { byNest, defineOp, logicalType, mismatch, type OpDef } from './def.js';
import { constantOf, limitsOf, maximum, minimum } from './integer.js';
import { type DTypeClass, expectClass, expectCount, showType } from './shapes.js';

const attrs = z.strictObject({ axes: naturals, keepdims: z.boolean() });
export type ReduceAttrs = z.infer<typeof attrs>;

interface Row {
  readonly name: string;
  readonly summary: string;
  readonly accepts: DTypeClass;
  readonly neutral: (t: DType) => number | bigint;
  readonly combine: (t: DType, acc: Expr, x: Expr) => Expr;
  /** Cotangent of x; y and dy have extent 1 along the reduced axes. */
  readonly gradient: (b: GraphBuilder, dy: ValueId, x: ValueId, y: ValueId, axes: readonly number[]) => ValueId;
}

/** Elements that equal the extremum share its cotangent evenly. */
function extremumGradient(b: GraphBuilder, dy: ValueId, x: ValueId, y: ValueId, axes: readonly number[]): ValueId {
  const hit = castTo(b, b.add('equal', [x, y]), b.typeOf(x).dtype);
  return mul(b, hit, div(b, dy, reduceSum(b, hit, axes, true)));
}

/**
 * dy · Π of the other elements: the product of the non-zero ones over x, where no element is zero; that product itself for an
 * only zero; else 0. Second derivatives where elements are exactly zero are taken as 0.
 */
function productGradient(b: GraphBuilder, dy: ValueId, x: ValueId, _y: ValueId, axes: readonly number[]): ValueId {
  const [zero, one] = [scalarLike(b, x, 0), scalarLike(b, x, 1)];
  const isZero = b.add('equal', [x, zero]);
  const safe = b.add('select', [isZero, one, x]);
  const zeros = reduceSum(b, castTo(b, isZero, b.typeOf(x).dtype), axes, true);
  const product = b.add('reduce_prod', [safe], { axes, keepdims: true });
  const atZero = masked(b, b.add('equal', [zeros, one]), product);
  const elsewhere = masked(b, b.add('equal', [zeros, zero]), div(b, product, safe));
  return mul(b, dy, b.add('select', [isZero, atZero, elsewhere]));
}

const rows: readonly Row[] = [
  {
    name: 'reduce_sum', summary: 'sum over `axes`, sequential; integers wrap', accepts: 'numeric',
    neutral: () => 0, combine: (_t, acc, x) => e.add(acc, x),
    gradient: (b, dy, x) => broadcastTo(b, dy, b.shapeOf(x)),
  },
  {
    name: 'reduce_prod', summary: 'product over `axes`, sequential; integers wrap', accepts: 'numeric',
    neutral: () => 1, combine: (_t, acc, x) => e.mul(acc, x), gradient: productGradient,
  },
  {
    name: 'reduce_max', summary: 'largest element over `axes`; ties share their derivative', accepts: 'any',
    neutral: (t) => limitsOf(t)[0], combine: maximum, gradient: extremumGradient,
  },
  {
    name: 'reduce_min', summary: 'smallest element over `axes`; ties share their derivative', accepts: 'any',
    neutral: (t) => limitsOf(t)[1], combine: minimum, gradient: extremumGradient,
  },
];

/** Whether elements along an axis are neighbours. */
const isRow = (x: Pick<View, 'strides' | 'shape'>, axis: number): boolean => x.strides[axis] === 1 && x.shape[axis] > 1;

/**
 * Where x's contiguous axis stays, it is the innermost loop and results accumulate in the output; else each result accumulates
 * in a local.
 */
function nest(b: NestBuilder, x: View, y: View, r: Row, { axes, keepdims }: ReduceAttrs): void {
  const t = logicalType(x);
  const neutral = constantOf(t, r.neutral(t));
  const keptAxes = x.shape.flatMap((_, a) => (axes.includes(a) ? [] : [a]));
  const strideOfY = (a: number): number => y.strides[keepdims ? a : keptAxes.indexOf(a)];
  keptAxes.sort((p, q) => strideOfY(q) - strideOfY(p));
  const contiguous = keptAxes.find((a) => isRow(x, a));
  const inner = contiguous === undefined ? [] : [contiguous];
  const outer = keptAxes.filter((a) => !inner.includes(a));
  const extents = (list: readonly number[]): number[] => list.map((a) => x.shape[a]);

  b.loops(extents(outer), (o) => {
    const full = (i: readonly Expr[], k: readonly Expr[]): Expr[] =>
      x.shape.map((_, a) => o[outer.indexOf(a)] ?? i[inner.indexOf(a)] ?? k[axes.indexOf(a)] ?? e.i32(0));
    const result = (i: readonly Expr[]): Expr[] => full(i, []).filter((_, a) => keepdims || !axes.includes(a));
    if (inner.length > 0) {
      b.loops(extents(inner), (i) => b.store(y, result(i), neutral));
      b.loops(extents(axes), (k) => b.loops(extents(inner), (i) => b.store(y, result(i), r.combine(t, b.load(y, result(i)), b.load(x, full(i, k))))));
    } else {
      const acc = b.local(neutral);
      b.loops(extents(axes), (k) => acc.set(r.combine(t, acc.value, b.load(x, full([], k)))));
      b.store(y, result([]), acc.value);
    }
  });
}

export const reduceOps: readonly OpDef[] = rows.map((r) =>
  defineOp<ReduceAttrs>({
    name: r.name,
    summary: r.summary,
    attrs,
    infer(ins, { axes, keepdims }, origin) {
      expectCount(ins, r.name, origin, 1);
      const [{ dtype, shape }] = ins;
      expectClass(ins[0], r.accepts, r.name, origin);
      if (axes.length === 0 || axes.some((a, i) => a >= shape.length || (i > 0 && a <= axes[i - 1]))) {
        mismatch(origin, r.name, `axes [${axes.join(',')}] of ${showType(ins[0])}`, 'one or more axes in increasing order');
      }
      return [{ dtype, shape: keepdims ? shape.map((n, a) => (axes.includes(a) ? 1 : n)) : shape.filter((_, a) => !axes.includes(a)) }];
    },
    gradient(b, { inputs: [x], outputs: [y], attrs: { axes }, cotangents: [dy] }) {
      const wide = b.shapeOf(x).map((n, a) => (axes.includes(a) ? 1 : n));
      return [r.gradient(b, reshapeTo(b, dy!, wide), x, reshapeTo(b, y, wide), axes)];
    },
    ...byNest<ReduceAttrs>((b, [x], [y], a) => nest(b, x, y, r, a)),
    accumulates: ({ inputs: [x], attrs: { axes } }) => x.shape.some((_, a) => !axes.includes(a) && isRow(x, a)),
  }),
);
