/** What the core ops do not have is composed of them here: helpers that emit IR, for gradients, the importer and autodiff. */
import type { GraphBuilder, ValueId } from '@bitloom/ir';
import { type DType, sameShape, scalar, tensorOf } from '@bitloom/tensor';

/** Rank-0 constant of an element type. */
export const scalarConst = (b: GraphBuilder, value: number | bigint, dtype: DType): ValueId => b.const(scalar(dtype, value), 'c');
/** Rank-0 constant of `x`'s element type. */
export const scalarLike = (b: GraphBuilder, x: ValueId, value: number): ValueId => scalarConst(b, value, b.typeOf(x).dtype);
/** 1-D i64 constant, for indices. */
export const indexConst = (b: GraphBuilder, values: readonly number[]): ValueId => b.const(tensorOf('i64', [values.length], values), 'index');

export const add = (b: GraphBuilder, x: ValueId, y: ValueId): ValueId => b.add('add', [x, y]);
export const sub = (b: GraphBuilder, x: ValueId, y: ValueId): ValueId => b.add('sub', [x, y]);
export const mul = (b: GraphBuilder, x: ValueId, y: ValueId): ValueId => b.add('mul', [x, y]);
export const div = (b: GraphBuilder, x: ValueId, y: ValueId): ValueId => b.add('div', [x, y]);
export const neg = (b: GraphBuilder, x: ValueId): ValueId => b.add('neg', [x]);
/** x·k for a number k. */
export const scale = (b: GraphBuilder, x: ValueId, k: number): ValueId => mul(b, x, scalarLike(b, x, k));
/** x + k for a number k. */
export const shift = (b: GraphBuilder, x: ValueId, k: number): ValueId => add(b, x, scalarLike(b, x, k));
export const square = (b: GraphBuilder, x: ValueId): ValueId => mul(b, x, x);
/** 1/x. */
export const reciprocal = (b: GraphBuilder, x: ValueId): ValueId => div(b, scalarLike(b, x, 1), x);

/** x > y, false on NaN. */
export const greater = (b: GraphBuilder, x: ValueId, y: ValueId): ValueId => b.add('less', [y, x]);
/** x ≥ y, false on NaN. */
export const greaterEqual = (b: GraphBuilder, x: ValueId, y: ValueId): ValueId => b.add('less_equal', [y, x]);
/** mask ? x : 0 */
export const masked = (b: GraphBuilder, mask: ValueId, x: ValueId): ValueId => b.add('select', [mask, x, scalarLike(b, x, 0)]);
/** mask ? x : 0 for finite x, for gradients: a product, since a selection takes onnxruntime three times as long. */
export const gated = (b: GraphBuilder, mask: ValueId, x: ValueId): ValueId => mul(b, x, castTo(b, mask, b.typeOf(x).dtype));
/** A value converted to an element type; itself where it has it already. */
export const castTo = (b: GraphBuilder, x: ValueId, to: DType): ValueId => (b.typeOf(x).dtype === to ? x : b.add('cast', [x], { to }));

/** Zeros of `x`'s type. */
export const zerosLike = (b: GraphBuilder, x: ValueId): ValueId => broadcastTo(b, scalarLike(b, x, 0), b.shapeOf(x));

/** x under another shape; x itself where it has it already. */
export const reshapeTo = (b: GraphBuilder, x: ValueId, shape: readonly number[]): ValueId =>
  sameShape(b.shapeOf(x), shape) ? x : b.add('reshape', [x], { shape });

/** x broadcast (numpy) to exactly `shape`. */
export const broadcastTo = (b: GraphBuilder, x: ValueId, shape: readonly number[]): ValueId =>
  sameShape(b.shapeOf(x), shape) ? x : b.add('expand', [x], { shape });

/** Sum over `axes` (any order, none allowed). */
export const reduceSum = (b: GraphBuilder, x: ValueId, axes: readonly number[], keepdims: boolean): ValueId =>
  axes.length === 0 ? x : b.add('reduce_sum', [x], { axes: [...axes].sort((p, q) => p - q), keepdims });

/** Mean over `axes`: the sum times 1/n (f32: n is exact up to 2^24). */
export function reduceMean(b: GraphBuilder, x: ValueId, axes: readonly number[], keepdims: boolean): ValueId {
  const n = axes.reduce((p, a) => p * b.shapeOf(x)[a], 1);
  return div(b, reduceSum(b, x, axes, keepdims), scalarLike(b, x, n));
}

/** Undoes numpy broadcasting of something of `shape`: sums over the axes along which it was repeated. The adjoint of {@link broadcastTo}. */
export function sumToShape(b: GraphBuilder, x: ValueId, shape: readonly number[]): ValueId {
  const from = b.shapeOf(x);
  const lead = from.length - shape.length;
  const axes = from.flatMap((n, i) => (i < lead || (shape[i - lead] === 1 && n !== 1) ? [i] : []));
  return reshapeTo(b, reduceSum(b, x, axes, true), shape);
}

export const transpose = (b: GraphBuilder, x: ValueId, perm: readonly number[]): ValueId =>
  perm.every((p, i) => p === i) ? x : b.add('transpose', [x], { perm });

/** x[start : start + size·step : step] along one axis. */
export function sliceAxis(b: GraphBuilder, x: ValueId, axis: number, start: number, size: number, step = 1): ValueId {
  const shape = b.shapeOf(x);
  if (start === 0 && step === 1 && size === shape[axis]) return x;
  const set = (all: readonly number[], v: number): number[] => all.map((n, i) => (i === axis ? v : n));
  return b.add('slice', [x], { starts: set(shape.map(() => 0), start), steps: set(shape.map(() => 1), step), sizes: set(shape, size) });
}

/** x reversed along `axes`. */
export function flip(b: GraphBuilder, x: ValueId, axes: readonly number[]): ValueId {
  const sizes = b.shapeOf(x);
  const at = (i: number): boolean => axes.includes(i) && sizes[i] > 1;
  if (!sizes.some((_, i) => at(i))) return x;
  return b.add('slice', [x], { starts: sizes.map((n, i) => (at(i) ? n - 1 : 0)), steps: sizes.map((_, i) => (at(i) ? -1 : 1)), sizes });
}

/** Zeros (or `value`) around x: `begins` and `ends` per axis, all ≥ 0. */
export function padWith(b: GraphBuilder, x: ValueId, begins: readonly number[], ends: readonly number[], value = 0): ValueId {
  if ([...begins, ...ends].every((p) => p === 0)) return x;
  return b.add('pad', [x], { pads: [...begins, ...ends], mode: 'constant', value });
}

/** `step` − 1 zeros between neighbours along one axis: size n becomes (n − 1)·step + 1. */
export function zeroInterleave(b: GraphBuilder, x: ValueId, axis: number, step: number): ValueId {
  const shape = b.shapeOf(x);
  const n = shape[axis];
  if (step === 1 || n <= 1) return x;
  const split = reshapeTo(b, x, [...shape.slice(0, axis + 1), 1, ...shape.slice(axis + 1)]);
  const at = (v: number): number[] => [...shape, 0].map((_, i) => (i === axis + 1 ? v : 0));
  const wide = padWith(b, split, at(0), at(step - 1));
  return sliceAxis(b, reshapeTo(b, wide, shape.map((d, i) => (i === axis ? d * step : d))), axis, 0, (n - 1) * step + 1);
}

/** Adds the slices of x along `axis` into `size` places, chosen by a 1-D index: the adjoint of gathering along that axis. */
export function scatterAddAxis(b: GraphBuilder, x: ValueId, axis: number, index: ValueId, size: number): ValueId {
  const shape = b.shapeOf(x);
  const along = (n: number, rest: readonly number[]): number[] => rest.map((d, a) => (a === axis ? n : d));
  const wide = broadcastTo(b, reshapeTo(b, index, along(shape[axis], shape.map(() => 1))), shape);
  const zeros = broadcastTo(b, scalarLike(b, x, 0), along(size, shape));
  return b.add('scatter_elements', [zeros, wide, x], { axis, reduction: 'add' });
}
