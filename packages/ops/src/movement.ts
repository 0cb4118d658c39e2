/** Pieces of nests that move elements without computing on them. */
import { e, type Expr, type NestBuilder, type View } from '@bitloom/kernel-spec';
import { type QuantParams, quantizeValue } from '@bitloom/numerics';
import { elementCount, rowMajorStrides } from '@bitloom/tensor';
import { constantOf } from './integer.js';

/** Whether two operands hold values the same way, so that what one stores means the same in the other. */
export const sameParams = (a: QuantParams | null, b: QuantParams | null): boolean =>
  a === b || (a !== null && b !== null && a.scale[0] === b.scale[0] && a.zeroPoint[0] === b.zeroPoint[0] && a.scheme.bits === b.scheme.bits);

/** Source and destination of a copy: where both have the same quantisation, as raw codes, so that they move without arithmetic. */
export function asCodes(from: View, to: View): [View, View] {
  return sameParams(from.quant, to.quant) ? [{ ...from, quant: null }, { ...to, quant: null }] : [from, to];
}

/** Fills the whole (dense) buffer of a view with one value. */
export function fill(b: NestBuilder, v: View, value: number): void {
  const q = v.quant;
  const x = q ? e.i32(quantizeValue(Math.fround(value), q.scale[0], q.zeroPoint[0], q.scheme)) : constantOf(v.dtype, value);
  b.for(elementCount(v.shape), (i) => b.storeAt({ ...v, quant: null }, i, x));
}

/** Part of a view: element i of the part is at base + Σ iₐ·stridesₐ. */
export interface Region {
  readonly view: View;
  readonly base: number;
  readonly strides: readonly number[];
}

/** to[i] = from[i] for all i in `shape`, in `to`'s physical order; adjacent loops merge wherever both sides allow. */
export function copyRegion(b: NestBuilder, shape: readonly number[], from: Region, to: Region): void {
  const dims: { n: number; from: number; to: number }[] = [];
  const all = shape.map((n, a) => ({ n, from: from.strides[a], to: to.strides[a] }));
  for (const d of all.filter(({ n }) => n !== 1).sort((p, q) => q.to - p.to)) {
    const last = dims.at(-1);
    if (last && last.to === d.to * d.n && last.from === d.from * d.n) dims[dims.length - 1] = { ...d, n: d.n * last.n };
    else dims.push(d);
  }
  b.loops(dims.map((d) => d.n), (index) => {
    const at = (base: number, side: 'from' | 'to'): Expr =>
      index.reduce<Expr>((sum, v, d) => e.add(sum, e.mul(v, e.i32(dims[d][side]))), e.i32(base));
    b.storeAt(to.view, at(to.base, 'to'), b.loadAt(from.view, at(from.base, 'from')));
  });
}

/** Loops over all elements of a view in its physical order; the index is logical. */
export function loopsInOrder(b: NestBuilder, v: View, body: (index: Expr[]) => void): void {
  const order = v.shape.map((_, a) => a).sort((p, q) => v.strides[q] - v.strides[p]);
  b.loops(order.map((a) => v.shape[a]), (index) => body(order.map((_, a) => index[order.indexOf(a)])));
}

/** Index along each axis of row-major position `at`. */
export function unravel(at: Expr, shape: readonly number[]): Expr[] {
  return rowMajorStrides(shape).map((s, a) => {
    const i = e.div(at, e.i32(s));
    return a === 0 ? i : e.rem(i, e.i32(shape[a]));
  });
}

/** Whether a view's physical order is its row-major order (axes of extent 1 may have any stride). */
export const isRowMajor = (v: View): boolean => rowMajorStrides(v.shape).every((s, a) => v.shape[a] === 1 || v.strides[a] === s);

/**
 * An i32 or i64 index of an axis of n > 0 elements as a valid i32 one: negative ones count from the end, then it is clamped,
 * so that no input can make a kernel leave its buffers.
 */
export function axisIndex(b: NestBuilder, raw: Expr, n: number): Expr {
  const i = b.let(raw);
  const c = (v: number): Expr => e.constant(i.t, v);
  const wrapped = e.select(e.lt(i, c(0)), e.add(i, c(n)), i);
  return b.let(e.cast('i32', e.min(e.max(wrapped, c(0)), c(n - 1))));
}
