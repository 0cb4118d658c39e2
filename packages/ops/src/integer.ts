/** Scalar expressions that depend on the element type, not only on the type it computes in (see `scalarOf`). */
import { e, scalarOf, type Expr } from '@bitloom/kernel-spec';
import { type DType, DTYPES, isFloat } from '@bitloom/tensor';

const flipSign = (x: Expr): Expr => e.xor(x, e.i64(-(2n ** 63n)));

/** Value of x as element type t would store and load it again. */
export function wrapTo(t: DType, x: Expr): Expr {
  switch (t) {
    case 'u8':
      return e.and(x, e.i32(0xff));
    case 'u16':
      return e.and(x, e.i32(0xffff));
    case 'u32':
      return e.and(x, e.i64(0xffffffffn));
    case 'i8':
      return e.shr(e.shl(x, e.i32(24)), e.i32(24));
    case 'i16':
      return e.shr(e.shl(x, e.i32(16)), e.i32(16));
    default:
      return x;
  }
}

/** a < b for values of element type t. */
export const lessThan = (t: DType, a: Expr, b: Expr): Expr => (t === 'u64' ? e.lt(flipSign(a), flipSign(b)) : e.lt(a, b));
/** a ≤ b for values of element type t. */
export const lessOrEqual = (t: DType, a: Expr, b: Expr): Expr => (t === 'u64' ? e.le(flipSign(a), flipSign(b)) : e.le(a, b));

/** Smaller value; NaN-propagating for floats. */
export const minimum = (t: DType, a: Expr, b: Expr): Expr => (t === 'u64' ? flipSign(e.min(flipSign(a), flipSign(b))) : e.min(a, b));
/** Larger value; NaN-propagating for floats. */
export const maximum = (t: DType, a: Expr, b: Expr): Expr => (t === 'u64' ? flipSign(e.max(flipSign(a), flipSign(b))) : e.max(a, b));

/** Constant of element type t; for u64 the i64 of the same bits. */
export const constantOf = (t: DType, v: number | bigint): Expr =>
  e.constant(scalarOf(t), t === 'u64' ? BigInt.asIntN(64, BigInt(v)) : v);

/** Smallest and largest value of an element type (the infinities for floats). */
export function limitsOf(t: DType): readonly [number | bigint, number | bigint] {
  if (isFloat(t)) return [-Infinity, Infinity];
  if (t === 'bool') return [0, 1];
  const bits = BigInt(8 * DTYPES[t].bytes);
  return DTYPES[t].kind === 'uint' ? [0n, 2n ** bits - 1n] : [-(2n ** (bits - 1n)), 2n ** (bits - 1n) - 1n];
}

/** Integer quotient truncated towards zero, or float quotient; an integer divided by zero gives 0. */
export function divide(t: DType, a: Expr, b: Expr): Expr {
  if (t !== 'u64') return wrapTo(t, e.div(a, b));
  // Unsigned from signed division (Hacker's Delight 9-3): divide half of a, double, correct by at most one.
  const q = e.shl(e.div(e.ushr(a, e.i64(1)), b), e.i64(1));
  const one = (c: Expr): Expr => e.cast('i64', c);
  const small = e.add(q, one(lessOrEqual(t, b, e.sub(a, e.mul(q, b)))));
  return e.select(e.eq(b, e.i64(0)), e.i64(0), e.select(e.lt(b, e.i64(0)), one(lessOrEqual(t, b, a)), small));
}

/** Integer remainder with the dividend's sign; 0 for a zero divisor. */
export const remainder = (t: DType, a: Expr, b: Expr): Expr =>
  t === 'u64' ? e.select(e.eq(b, e.i64(0)), e.i64(0), e.sub(a, e.mul(divide(t, a, b), b))) : e.rem(a, b);

/**
 * xʸ for integers, wrapping: the product of x^(2^k) over the bits of y, which saturates at 63. Negative exponents give the
 * truncated 1/xⁿ: 0 but for x = ±1.
 */
export function integerPower(t: DType, x: Expr, y: Expr): Expr {
  const c = (v: number): Expr => constantOf(t, v);
  const n = minimum(t, y, c(63));
  let result = c(1);
  let square = x;
  for (let k = 0; k < 6; k++) {
    result = e.mul(result, e.select(e.ne(e.and(n, c(2 ** k)), c(0)), square, c(1)));
    square = e.mul(square, square);
  }
  const odd = e.ne(e.and(y, c(1)), c(0));
  const inverse = e.select(e.eq(x, c(1)), c(1), e.select(e.eq(x, c(-1)), e.select(odd, c(-1), c(1)), c(0)));
  return wrapTo(t, DTYPES[t].kind === 'uint' ? result : e.select(e.lt(y, c(0)), inverse, result));
}

/** Converts between element types: floats to integers truncate and saturate, integers wrap, anything to bool is x ≠ 0. */
export function convert(from: DType, to: DType, x: Expr): Expr {
  if (from === to) return x;
  if (to === 'bool') return e.ne(x, constantOf(from, 0));
  if (isFloat(to)) {
    if (from !== 'u64') return e.cast(scalarOf(to), x);
    // Above 2^63: half of x with the lost bit kept (round to odd), doubled exactly.
    const half = e.or(e.ushr(x, e.i64(1)), e.and(x, e.i64(1)));
    return e.select(e.lt(x, e.i64(0)), e.mul(constantOf(to, 2), e.cast(scalarOf(to), half)), e.cast(scalarOf(to), x));
  }
  if (!isFloat(from)) return wrapTo(to, e.cast(scalarOf(to), x));
  if (to === 'u64') {
    const top = constantOf(from, 2 ** 63);
    const high = flipSign(e.cast('i64', e.sub(x, top)));
    return e.select(e.ge(x, top), e.select(e.ge(x, constantOf(from, 2 ** 64)), e.i64(-1), high), e.max(e.cast('i64', x), e.i64(0)));
  }
  const [lo, hi] = limitsOf(to);
  const n = e.cast(scalarOf(to), x);
  return to === 'i32' || to === 'i64' ? n : e.min(e.max(n, constantOf(to, lo)), constantOf(to, hi));
}

/** SCALAR_FUNCTIONS compute in f32; f64 arguments go through it. */
export const callIn = (t: DType, fn: string, ...args: readonly Expr[]): Expr =>
  e.cast(scalarOf(t), e.call(fn, ...args.map((x) => e.cast('f32', x))));
