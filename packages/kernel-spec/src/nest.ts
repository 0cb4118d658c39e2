/**
 * The loop-nest form: a small structured language of scalar expressions, loops and stores, from which everything that is
 * not a hot kernel is made. One printer per backend (C, WAT) and one to JavaScript, which is the reference.
 *
 * Semantics, the same on every backend:
 * - `i32`/`i64` wrap; `div` truncates towards zero, `rem` has the dividend's sign, both give 0 for a zero divisor;
 *   shifts take their count modulo the width.
 * - `f32`/`f64` are IEEE 754, round to nearest even, every operation rounded on its own (no fused multiply-add).
 * - `min`/`max` propagate NaN and order −0 < +0; `pmin(a,b)` is `b < a ? b : a`, `pmax(a,b)` is `a < b ? b : a` (as
 *   WebAssembly defines them). For integers both pairs are the ordinary minimum and maximum.
 * - `rem` and the bitwise operations are for integers, `sqrt` and roundings for floats. Which NaN an operation gives is
 *   unspecified; the `bits` of any NaN are 0x7fc00000 (f64: 0x7ff8000000000000).
 * - comparisons give i32 0 or 1 and are false on NaN (but `ne`).
 * - float → integer casts truncate and saturate, NaN gives 0; integer → float rounds to nearest even; i64 → i32 wraps.
 * - loads of u8, u16, bool zero-extend and i8, i16 sign-extend to i32; u32 zero-extends to i64; u64 is read as i64 bits.
 *   Stores wrap to the element width. An index outside its operand is an error, also in an arm of `sel` that is not chosen.
 */
import type { DType } from '@bitloom/tensor';

export type Scalar = 'i32' | 'i64' | 'f32' | 'f64';

export type UnaryOp = 'neg' | 'abs' | 'sqrt' | 'floor' | 'ceil' | 'trunc' | 'nearest' | 'bits' | 'frombits';
export type BinaryOp =
  | 'add' | 'sub' | 'mul' | 'div' | 'rem' | 'min' | 'max' | 'pmin' | 'pmax'
  | 'and' | 'or' | 'xor' | 'shl' | 'shr' | 'ushr';
export type CompareOp = 'lt' | 'le' | 'gt' | 'ge' | 'eq' | 'ne';

/**
 * Scalar expression of type `t`. `bits` reinterprets f32 → i32 (f64 → i64), `frombits` back. `cmp` has t = 'i32' and operands
 * of type `of`. `call` names an entry of SCALAR_FUNCTIONS.
 */
export type Expr =
  | { readonly k: 'const'; readonly t: Scalar; readonly v: number | bigint }
  | { readonly k: 'var'; readonly t: Scalar; readonly name: string }
  | { readonly k: 'load'; readonly t: Scalar; readonly buf: number; readonly at: Expr }
  | { readonly k: 'un'; readonly t: Scalar; readonly op: UnaryOp; readonly x: Expr }
  | { readonly k: 'bin'; readonly t: Scalar; readonly op: BinaryOp; readonly a: Expr; readonly b: Expr }
  | { readonly k: 'cmp'; readonly t: 'i32'; readonly of: Scalar; readonly op: CompareOp; readonly a: Expr; readonly b: Expr }
  | { readonly k: 'cast'; readonly t: Scalar; readonly x: Expr }
  | { readonly k: 'sel'; readonly t: Scalar; readonly c: Expr; readonly a: Expr; readonly b: Expr }
  | { readonly k: 'call'; readonly t: Scalar; readonly fn: string; readonly args: readonly Expr[] };

/**
 * Statements. `for` runs its i32 variable from 0 to n − 1 (n evaluated once). `let` declares a mutable local, visible to the
 * end of its block.
 */
export type Stmt =
  | { readonly s: 'for'; readonly v: string; readonly n: Expr; readonly body: readonly Stmt[] }
  | { readonly s: 'let'; readonly name: string; readonly x: Expr }
  | { readonly s: 'set'; readonly name: string; readonly x: Expr }
  | { readonly s: 'store'; readonly buf: number; readonly at: Expr; readonly x: Expr }
  | { readonly s: 'if'; readonly c: Expr; readonly then: readonly Stmt[]; readonly else: readonly Stmt[] };

/** Storage of one operand; `at` indices count elements from its start. */
export interface NestOperand {
  readonly dtype: DType;
  readonly elements: number;
}

/** A nest over operands 0…n−1: the call's args first, then its results. Names are unique within a nest. */
export interface Nest {
  readonly operands: readonly NestOperand[];
  readonly body: readonly Stmt[];
}

/** The scalar type that a storage type computes in. */
export function scalarOf(dtype: DType): Scalar {
  switch (dtype) {
    case 'f32':
    case 'f64':
      return dtype;
    case 'i64':
    case 'u64':
    case 'u32':
      return 'i64';
    default:
      return 'i32';
  }
}
