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
  { cases: /bfloat16/i, tolerance: { rtol: 2 ** -7, atol: 1e-5 }, reason: 'its 8 significant bits are not rounded to: computed in f32' },
];

/** Tolerance of a case's outputs of a type. */
export const toleranceOf = (name: string, dtype: DType): Tolerance =>
  isFloat(dtype) ? (EXCEPTIONS.find((x) => x.cases.test(name))?.tolerance ?? FLOAT) : EXACT;

const show = (t: Tensor): string => `${t.dtype}[${t.shape}]`;

const firstDifference = (found: Tensor, expected: Tensor, same: (a: number | bigint, b: number | bigint) => boolean): string | null => {
  if (found.dtype !== expected.dtype || !sameShape(found.shape, expected.shape)) return `${show(found)} instead of ${show(expected)}`;
  for (let i = 0; i < expected.data.length; i++) {
    if (!same(found.data[i], expected.data[i])) return `${found.data[i]} instead of ${expected.data[i]} at element ${i}`;
  }
  return null;
};

/** First element further than `atol + rtol·|expected|` from what is expected, or null. NaN equals NaN. */
export function difference(found: Tensor, expected: Tensor, { rtol, atol }: Tolerance): string | null {
  const near = (a: number | bigint, b: number): boolean => typeof a === 'number' && Number.isFinite(b) && Math.abs(a - b) <= atol + rtol * Math.abs(b);
  return firstDifference(found, expected, (a, b) => Object.is(a, b) || a === b || (typeof b === 'number' && near(a, b)));
}

/** First element that differs in a bit (signs of zero count, payloads of NaN do not), or null. */
export const bitDifference = (found: Tensor, expected: Tensor): string | null => firstDifference(found, expected, Object.is);
