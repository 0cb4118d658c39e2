import { fail } from '@bitloom/diagnostics';

/** Element types of the IR. `bool` is stored one byte per element (0 or 1). */
export type DType = 'f32' | 'f64' | 'i8' | 'i16' | 'i32' | 'i64' | 'u8' | 'u16' | 'u32' | 'u64' | 'bool';

export type TypedArray =
  | Float32Array
  | Float64Array
  | Int8Array
  | Int16Array
  | Int32Array
  | BigInt64Array
  | Uint8Array
  | Uint16Array
  | Uint32Array
  | BigUint64Array;

interface DTypeInfo {
  readonly bytes: 1 | 2 | 4 | 8;
  readonly array: { new (length: number): TypedArray; new (buffer: ArrayBufferLike, byteOffset?: number, length?: number): TypedArray };
  readonly kind: 'float' | 'int' | 'uint' | 'bool';
}

export const DTYPES: Readonly<Record<DType, DTypeInfo>> = {
  f32: { bytes: 4, array: Float32Array, kind: 'float' },
  f64: { bytes: 8, array: Float64Array, kind: 'float' },
  i8: { bytes: 1, array: Int8Array, kind: 'int' },
  i16: { bytes: 2, array: Int16Array, kind: 'int' },
  i32: { bytes: 4, array: Int32Array, kind: 'int' },
  i64: { bytes: 8, array: BigInt64Array, kind: 'int' },
  u8: { bytes: 1, array: Uint8Array, kind: 'uint' },
  u16: { bytes: 2, array: Uint16Array, kind: 'uint' },
  u32: { bytes: 4, array: Uint32Array, kind: 'uint' },
  u64: { bytes: 8, array: BigUint64Array, kind: 'uint' },
  bool: { bytes: 1, array: Uint8Array, kind: 'bool' },
};

export const isFloat = (t: DType): t is 'f32' | 'f64' => DTYPES[t].kind === 'float';
export const is64 = (t: DType): t is 'i64' | 'u64' => t === 'i64' || t === 'u64';
export const byteSize = (t: DType): number => DTYPES[t].bytes;

/** Largest number of elements any tensor may have; guards every allocation from file-supplied shapes. */
export const MAX_ELEMENTS = 2 ** 28;

/**
 * Product of the dimensions.
 * @throws E206 when a dimension is negative, not an integer, or the product exceeds {@link MAX_ELEMENTS}.
 */
export function elementCount(shape: readonly number[], node?: string): number {
  let n = 1;
  let zero = false;
  for (const d of shape) {
    if (!Number.isSafeInteger(d) || d < 0) {
      fail('E206', 'a dimension is negative or not an integer', { node, found: `[${shape.join(', ')}]`, expected: 'non-negative integers' });
    }
    if (d === 0) zero = true;
    else n *= d;
    if (n > MAX_ELEMENTS) {
      fail('E206', 'tensor too large', {
        node, found: `[${shape.join(', ')}]`, expected: `at most ${MAX_ELEMENTS} elements`, remedy: 'check the shape, or reduce the batch or image size',
      });
    }
  }
  return zero ? 0 : n;
}
