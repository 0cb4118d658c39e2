/** Checks and shape arithmetic shared by `infer` rules. */
import type { TensorType } from '@bitloom/ir';
import { type DType, isFloat } from '@bitloom/tensor';
import { mismatch } from './def.js';

export const showType = (t: TensorType): string => `${t.dtype}[${t.shape.join(',')}]`;
export const showTypes = (ts: readonly TensorType[]): string => ts.map(showType).join(', ') || 'nothing';

/** Numpy broadcast of two shapes, null where they do not fit. */
export function broadcastShape(a: readonly number[], b: readonly number[]): number[] | null {
  const rank = Math.max(a.length, b.length);
  const out: number[] = [];
  for (let i = 0; i < rank; i++) {
    const x = a[a.length - rank + i] ?? 1;
    const y = b[b.length - rank + i] ?? 1;
    if (x !== y && x !== 1 && y !== 1) return null;
    out.push(x === 1 ? y : x);
  }
  return out;
}

/** Broadcast of the operands' shapes. @throws E204 */
export function broadcastAll(ins: readonly TensorType[], op: string, origin: string): number[] {
  return ins.reduce<number[]>((shape, t) => broadcastShape(shape, t.shape) ?? mismatch(origin, op, showTypes(ins), 'shapes that broadcast'), []);
}

export type DTypeClass = 'float' | 'numeric' | 'signed' | 'integer' | 'bool' | 'bits' | 'any';

/** Which types an operand may have; `bits` is bool and the integers, `signed` the floats and signed integers. */
export function isOfClass(t: DType, c: DTypeClass): boolean {
  switch (c) {
    case 'any':
      return true;
    case 'float':
      return isFloat(t);
    case 'numeric':
      return t !== 'bool';
    case 'integer':
      return t !== 'bool' && !isFloat(t);
    case 'signed':
      return t !== 'bool' && !t.startsWith('u');
    case 'bool':
      return t === 'bool';
    case 'bits':
      return !isFloat(t);
  }
}

/** @throws E204 unless there are `n` operands (or `min`–`max` of them). */
export function expectCount(ins: readonly TensorType[], op: string, origin: string, min: number, max = min): void {
  if (ins.length < min || ins.length > max) {
    mismatch(origin, op, `${ins.length} operands`, min === max ? `${min}` : max === Infinity ? `at least ${min}` : `${min} to ${max}`);
  }
}

/** @throws E204 unless the operand's element type is of the class. */
export function expectClass(t: TensorType, c: DTypeClass, op: string, origin: string): void {
  if (!isOfClass(t.dtype, c)) mismatch(origin, op, showType(t), `an operand of ${c} type`);
}

/** @throws E204 unless all operands have one element type. */
export function expectSameDType(ins: readonly TensorType[], op: string, origin: string): void {
  if (ins.some((t) => t.dtype !== ins[0].dtype)) mismatch(origin, op, showTypes(ins), 'operands of one element type');
}

/** @throws E204 unless 0 ≤ axis < rank. */
export function expectAxis(axis: number, rank: number, op: string, origin: string): void {
  if (axis >= rank) mismatch(origin, op, `axis ${axis} of a tensor of rank ${rank}`, `an axis below ${rank}`);
}

/** @throws E204 unless the operand is an index tensor. */
export function expectIndex(t: TensorType, op: string, origin: string): void {
  if (t.dtype !== 'i64' && t.dtype !== 'i32') mismatch(origin, op, showType(t), 'an index of type i64 or i32');
}

/** @throws E204 unless `index` chooses single elements of x along `axis`. */
export function expectElementIndex(x: TensorType, index: TensorType, axis: number, op: string, origin: string): void {
  expectIndex(index, op, origin);
  expectAxis(axis, x.shape.length, op, origin);
  const fits = index.shape.length === x.shape.length && index.shape.every((n, a) => a === axis || n <= x.shape[a]);
  if (!fits || (x.shape[axis] === 0 && !index.shape.includes(0))) {
    mismatch(origin, op, showTypes([x, index]), `an index of x's rank, no larger but along axis ${axis}`);
  }
}

/** @throws E204 unless the updates have x's type, and one that the reduction can compute with. */
export function expectUpdatable(x: TensorType, updates: TensorType, reduction: string, op: string, origin: string): void {
  expectSameDType([x, updates], op, origin);
  if (reduction !== 'none') expectClass(x, 'numeric', op, origin);
}
