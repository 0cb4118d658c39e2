/** Scalar expressions for the integer types that do not equal the type they compute in (see {@link scalarOf}). */
import { e, scalarOf, type Expr } from '@bitloom/kernel-spec';
import type { DType } from '@bitloom/tensor';

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

/** Constant of element type t. */
export const constantOf = (t: DType, v: number | bigint): Expr => e.constant(scalarOf(t), v);
