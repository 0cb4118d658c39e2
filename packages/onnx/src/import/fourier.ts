/** Fourier transforms of a constant size, as products with constant matrices. */
import type { ValueId } from '@bitloom/ir';
import { compose } from '@bitloom/ops';
import type { DType } from '@bitloom/tensor';
import type { OnnxNode } from '../node.js';

/** cos and sin of 2πkj/N, rows k < `rows`, columns j < `columns`, times `factor`. */
function fourier(n: OnnxNode, dtype: DType, size: number, rows: number, columns: number, factor: number): [ValueId, ValueId] {
  const table = (f: (x: number) => number): ValueId =>
    n.generate(dtype, [rows, columns], (i) => factor * f((2 * Math.PI * ((Math.floor(i / columns) * (i % columns)) % size)) / size));
  return [table(Math.cos), table(Math.sin)];
}

/** Transform of `size` points along the last axis of real and imaginary parts; gives both parts. */
export function transform(n: OnnxNode, re: ValueId, im: ValueId | null, size: number, rows: number, inverse: boolean): [ValueId, ValueId] {
  const { b } = n;
  const shape = b.shapeOf(re);
  const [cos, sin] = fourier(n, b.typeOf(re).dtype, size, rows, shape[shape.length - 1], inverse ? 1 / size : 1);
  const times = (x: ValueId, m: ValueId): ValueId => n.op('matmul', [x, n.transpose(m, [1, 0])]);
  const sign = inverse ? 'add' : 'sub';
  if (im === null) return [times(re, cos), inverse ? times(re, sin) : n.op('neg', [times(re, sin)])];
  return [
    n.op(inverse ? 'sub' : 'add', [times(re, cos), times(im, sin)]),
    n.op(sign, [times(im, cos), times(re, sin)]),
  ];
}

/** Real and imaginary parts along a new last axis. */
export const complex = (n: OnnxNode, re: ValueId, im: ValueId): ValueId => {
  const shape = [...n.b.shapeOf(re), 1];
  return n.op('concat', [n.reshape(re, shape), n.reshape(im, shape)], { axis: shape.length - 1 });
};

/** Real or imaginary part of something whose last axis holds them. */
export const part = (n: OnnxNode, x: ValueId, i: number): ValueId => {
  const shape = n.b.shapeOf(x);
  return n.reshape(compose.sliceAxis(n.b, x, shape.length - 1, i, 1), shape.slice(0, -1));
};
