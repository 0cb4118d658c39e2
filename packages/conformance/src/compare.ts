/** Two ways to compare tensors: within the tolerance of the ONNX runner, and by their bits. */
import { type DType, type Tensor, isFloat, sameShape } from '@bitloom/tensor';

export interface Tolerance {
  readonly rtol: number;
  readonly atol: number;
}

/** Defaults of onnx.backend.test for floats. */
const FLOAT: Tolerance = { rtol: 1e-3, atol: 1e-5 };
const EXACT: Tolerance = { rtol: 0, atol: 0 };

const EXCEPTIONS: readonly { readonly cases: RegExp; readonly tolerance: Tolerance; readonly reason: string }[] = [
  { cases: /bfloat16/i, tolerance: { rtol: 2 ** -7, atol: 1e-5 }, reason: 'bfloat16 has 8 significant bits and is computed in f32 without rounding to them' },
];

/** Tolerance of a case's outputs of a type. */
export const toleranceOf = (name: string, dtype: DType): Tolerance =>
  isFloat(dtype) ? (EXCEPTIONS.find((x) => x.cases.test(name))?.tolerance ?? FLOAT) : EXACT;

const typeDifference = (found: Tensor, expected: Tensor): string | null =>
  found.dtype === expected.dtype && sameShape(found.shape, expected.shape) ? null : `${found.dtype}[${found.shape}] instead of ${expected.dtype}[${expected.shape}]`;

const firstDifference = (found: Tensor, expected: Tensor, same: (a: number | bigint, b: number | bigint) => boolean): string | null => {
  const wrong = typeDifference(found, expected);
  if (wrong !== null) return wrong;
  for (let i = 0; i < expected.data.length; i++) {
    if (!same(found.data[i], expected.data[i])) return `${found.data[i]} instead of ${expected.data[i]} at element ${i}`;
  }
  return null;
};

/** First element further than `atol + rtol·|expected|` from what is expected, or null. NaN equals NaN. */
export const difference = (found: Tensor, expected: Tensor, { rtol, atol }: Tolerance): string | null =>
  firstDifference(found, expected, (a, b) => Object.is(a, b) || a === b || (typeof a === 'number' && Number.isFinite(b) && Math.abs(a - Number(b)) <= atol + rtol * Math.abs(Number(b))));

/** First element that differs in a bit (signs of zero count, payloads of NaN do not), or null. */
export const bitDifference = (found: Tensor, expected: Tensor): string | null => firstDifference(found, expected, Object.is);
