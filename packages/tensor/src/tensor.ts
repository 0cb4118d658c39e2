import { fail } from '@bitloom/diagnostics';
import { DTYPES, type DType, type TypedArray, elementCount, is64 } from './dtype.js';

/** Dense row-major tensor. `data.length` is the product of `shape`; a scalar has shape `[]`. Treat as immutable. */
export interface Tensor {
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly data: TypedArray;
}

/** Tensor over existing data (not copied). @throws E204 when the length does not fit the shape. */
export function tensor(dtype: DType, shape: readonly number[], data: TypedArray): Tensor {
  const n = elementCount(shape);
  if (data.length !== n || !(data instanceof DTYPES[dtype].array)) {
    fail('E204', 'tensor data does not fit its type', {
      found: `${data.length} elements of ${data.constructor.name}`, expected: `${n} elements of ${dtype} [${shape.join(', ')}]`,
    });
  }
  return { dtype, shape: [...shape], data };
}

/** Tensor from plain numbers; 64-bit integers are converted to bigint. */
export function tensorOf(dtype: DType, shape: readonly number[], values: ArrayLike<number | bigint | boolean>): Tensor {
  const out = allocate(dtype, shape);
  if (values.length !== out.data.length) {
    fail('E204', 'tensor data does not fit its shape', {
      found: `${values.length} elements`, expected: `${out.data.length} elements for [${shape.join(', ')}]`,
    });
  }
  for (let i = 0; i < values.length; i++) setAt(out, i, values[i]);
  return out;
}

/** Zero-filled tensor. */
export function allocate(dtype: DType, shape: readonly number[]): Tensor {
  return { dtype, shape: [...shape], data: new DTYPES[dtype].array(elementCount(shape)) };
}

export const scalar = (dtype: DType, value: number | bigint): Tensor => tensorOf(dtype, [], [value]);

/** Element `i` (linear) as a number; 64-bit integers lose precision above 2^53. */
export const getAt = (t: Tensor, i: number): number => Number(t.data[i]);

/** Sets element `i` (linear). Only for tensors under construction. */
export function setAt(t: Tensor, i: number, v: number | bigint | boolean): void {
  if (is64(t.dtype)) (t.data as BigInt64Array)[i] = typeof v === 'bigint' ? v : BigInt(Math.trunc(Number(v)));
  else (t.data as Float32Array)[i] = Number(v);
}

/** All elements as plain numbers. */
export const toNumbers = (t: Tensor): number[] => Array.from(t.data as Iterable<number | bigint>, Number);

/** Same data under another shape. @throws E204 when the element counts differ. */
export function reshape(t: Tensor, shape: readonly number[]): Tensor {
  return tensor(t.dtype, shape, t.data);
}

/** Row-major strides in elements. */
export function rowMajorStrides(shape: readonly number[]): number[] {
  const strides = new Array<number>(shape.length);
  let s = 1;
  for (let i = shape.length - 1; i >= 0; i--) {
    strides[i] = s;
    s *= shape[i];
  }
  return strides;
}

export const sameShape = (a: readonly number[], b: readonly number[]): boolean => a.length === b.length && a.every((d, i) => d === b[i]);

/** The raw little-endian bytes (a view, not a copy). */
export const bytesOf = (t: Tensor): Uint8Array => new Uint8Array(t.data.buffer, t.data.byteOffset, t.data.byteLength);
