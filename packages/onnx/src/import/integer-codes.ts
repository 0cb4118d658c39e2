import type { ValueId } from '@bitloom/ir';
import { compose } from '@bitloom/ops';
import type { DType } from '@bitloom/tensor';
import type { OnnxNode } from '../node.js';
import { windowOf } from './windows.js';

/** code − zero point in f32, exact; a zero point of rank 1 lies along `axis`. */
export function centred(n: OnnxNode, x: ValueId, zero: ValueId | null, axis: number): ValueId {
  const wide = n.cast(x, 'f32');
  return zero === null ? wide : compose.sub(n.b, wide, n.cast(alongAxis(n, zero, n.b.shapeOf(x).length, axis), 'f32'));
}

/** A scale or zero point: one for the tensor, or one per index of `axis`. */
export function alongAxis(n: OnnxNode, p: ValueId, rank: number, axis: number): ValueId {
  const shape = n.b.shapeOf(p);
  if (shape.length !== 1) return p;
  if (shape[0] === 1) return n.reshape(p, []);
  return n.reshape(p, Array.from({ length: rank }, (_, i) => (i === axis ? shape[0] : 1)));
}

/** saturate(round(x) + zero point) */
export function toCodes(n: OnnxNode, x: ValueId, zero: ValueId, to: DType): ValueId {
  const range = { i8: [-128, 127], u8: [0, 255] }[to as string] ?? n.unsupported(`codes of type ${to}`);
  const float = n.b.typeOf(x).dtype;
  return n.cast(n.op('clip', [compose.add(n.b, n.op('round', [x]), n.cast(zero, float))], { min: range[0], max: range[1] }), to);
}

/** Convolution with the node's attributes. */
export const convolve = (n: OnnxNode, x: ValueId, w: ValueId): ValueId => {
  const { strides, dilations, pads } = windowOf(n, n.b.shapeOf(x).slice(2), n.b.shapeOf(w).slice(2));
  return n.op('conv', [x, w], { strides, dilations, pads, group: n.attrs.int('group', 1) });
};
