/** Element types of ONNX (`TensorProto.DataType`, through ONNX 1.23) and how each is stored here. */
import { fail } from '@bitloom/diagnostics';
import { type DType, elementCount } from '@bitloom/tensor';

/** Largest constant that is made rather than read from the file (filled, counted, unpacked from a sparse one). */
const MAX_GENERATED = 2 ** 24;

/** Number of elements of a constant that an importer is about to make. @throws E206. */
export function generatedCount(shape: readonly number[], node: string): number {
  const n = elementCount(shape, node);
  if (n > MAX_GENERATED) fail('E206', 'constant too large', { node, found: `[${shape.join(', ')}]`, expected: `at most ${MAX_GENERATED} elements` });
  return n;
}

/** IEEE-like float of fewer than 32 bits. `finite`: no infinities; `fnuz`: no negative zero, NaN is the sign bit alone. */
interface MiniFloat {
  readonly exponent: number;
  readonly mantissa: number;
  readonly bias: number;
  readonly special: 'ieee' | 'finite-nan' | 'fnuz' | 'none';
}

export interface OnnxType {
  readonly code: number;
  readonly name: string;
  /** Where its values live; null for types without arithmetic here. */
  readonly dtype: DType | null;
  readonly bits: number;
  /** Set for floats narrower than f32. */
  readonly float: MiniFloat | null;
}

const type = (code: number, name: string, dtype: DType | null, bits: number, float: MiniFloat | null = null): OnnxType => ({ code, name, dtype, bits, float });
const mini = (exponent: number, mantissa: number, bias: number, special: MiniFloat['special']): MiniFloat => ({ exponent, mantissa, bias, special });

export const ONNX_TYPES: ReadonlyMap<number, OnnxType> = new Map([
  type(1, 'FLOAT', 'f32', 32),
  type(2, 'UINT8', 'u8', 8),
  type(3, 'INT8', 'i8', 8),
  type(4, 'UINT16', 'u16', 16),
  type(5, 'INT16', 'i16', 16),
  type(6, 'INT32', 'i32', 32),
  type(7, 'INT64', 'i64', 64),
  type(8, 'STRING', null, 0),
  type(9, 'BOOL', 'bool', 8),
  type(10, 'FLOAT16', 'f32', 16, mini(5, 10, 15, 'ieee')),
  type(11, 'DOUBLE', 'f64', 64),
  type(12, 'UINT32', 'u32', 32),
  type(13, 'UINT64', 'u64', 64),
  type(14, 'COMPLEX64', null, 64),
  type(15, 'COMPLEX128', null, 128),
  type(16, 'BFLOAT16', 'f32', 16, mini(8, 7, 127, 'ieee')),
  type(17, 'FLOAT8E4M3FN', 'f32', 8, mini(4, 3, 7, 'finite-nan')),
  type(18, 'FLOAT8E4M3FNUZ', 'f32', 8, mini(4, 3, 8, 'fnuz')),
  type(19, 'FLOAT8E5M2', 'f32', 8, mini(5, 2, 15, 'ieee')),
  type(20, 'FLOAT8E5M2FNUZ', 'f32', 8, mini(5, 2, 16, 'fnuz')),
  type(21, 'UINT4', 'u8', 4),
  type(22, 'INT4', 'i8', 4),
  type(23, 'FLOAT4E2M1', 'f32', 4, mini(2, 1, 1, 'none')),
  type(24, 'FLOAT8E8M0', null, 8),
  type(25, 'UINT2', 'u8', 2),
  type(26, 'INT2', 'i8', 2),
].map((t) => [t.code, t]));

/** Whether a type has fewer values than the one that holds it, so that the width must be remembered. Half precision does not count. */
export const isNarrow = (t: OnnxType): boolean => t.bits < (t.float ? 16 : 8);

/** Type by its number in the file. @throws E209 for unknown types and those without a place in the IR. */
export function onnxType(code: number | null | undefined, node: string): OnnxType & { readonly dtype: DType } {
  const t = ONNX_TYPES.get(code ?? 0);
  const dtype = t?.dtype;
  if (!t || !dtype) {
    fail('E209', 'element type is not supported', { node, found: t?.name ?? `data type ${code ?? 0}`, expected: 'a numeric type of at most 64 bits, or BOOL' });
  }
  return { ...t, dtype };
}

/** Value of a narrow float given as its bits; exact in f32. */
export function miniFloatValue(bits: number, f: MiniFloat): number {
  const sign = (bits >> (f.exponent + f.mantissa)) & 1;
  const e = (bits >> f.mantissa) & ((1 << f.exponent) - 1);
  const m = bits & ((1 << f.mantissa) - 1);
  const top = e === (1 << f.exponent) - 1;
  if (f.special === 'fnuz' && sign === 1 && e === 0 && m === 0) return NaN;
  if (f.special === 'finite-nan' && top && m === (1 << f.mantissa) - 1) return NaN;
  if (f.special === 'ieee' && top) return m ? NaN : sign ? -Infinity : Infinity;
  const magnitude = e === 0 ? m * 2 ** (1 - f.bias - f.mantissa) : (1 + m / (1 << f.mantissa)) * 2 ** (e - f.bias);
  return sign ? -magnitude : magnitude;
}
