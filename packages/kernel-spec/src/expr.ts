/** Constructors of nest expressions, with constant folding of index arithmetic so that generated code stays readable. */
import { fail } from '@bitloom/diagnostics';
import type { BinaryOp, CompareOp, Expr, Scalar, UnaryOp } from './nest.js';

export const f32 = (v: number): Expr => ({ k: 'const', t: 'f32', v: Math.fround(v) });
export const f64 = (v: number): Expr => ({ k: 'const', t: 'f64', v });
export const i32 = (v: number): Expr => ({ k: 'const', t: 'i32', v: v | 0 });
/** Wraps to 64 bits, so that u64 values may be given as they are. */
export const i64 = (v: number | bigint): Expr => ({ k: 'const', t: 'i64', v: BigInt.asIntN(64, BigInt(v)) });

/** Constant of any scalar type. */
export function constant(t: Scalar, v: number | bigint): Expr {
  if (t === 'i64') return i64(typeof v === 'bigint' ? v : BigInt(Math.trunc(v)));
  return t === 'i32' ? i32(Number(v)) : t === 'f32' ? f32(Number(v)) : f64(Number(v));
}

const isI32 = (e: Expr, v?: number): boolean => e.k === 'const' && e.t === 'i32' && (v === undefined || e.v === v);

function bin(op: BinaryOp, a: Expr, b: Expr): Expr {
  if (a.t !== b.t) fail('E901', `nest: ${op} of ${a.t} and ${b.t}`);
  if (a.t === 'i32') {
    if (a.k === 'const' && b.k === 'const') {
      const [x, y] = [Number(a.v), Number(b.v)];
      if (op === 'add') return i32(x + y);
      if (op === 'sub') return i32(x - y);
      if (op === 'mul') return i32(Math.imul(x, y));
      if (op === 'div' && y !== 0) return i32(Math.trunc(x / y));
      if (op === 'rem' && y !== 0) return i32(x % y);
    }
    if (op === 'add' && isI32(a, 0)) return b;
    if ((op === 'add' || op === 'sub') && isI32(b, 0)) return a;
    if (op === 'mul' && (isI32(a, 0) || isI32(b, 0))) return i32(0);
    if (op === 'mul' && isI32(a, 1)) return b;
    if ((op === 'mul' || op === 'div') && isI32(b, 1)) return a;
    if (op === 'rem' && isI32(b, 1)) return i32(0);
  }
  return { k: 'bin', t: a.t, op, a, b };
}

export const add = (a: Expr, b: Expr): Expr => bin('add', a, b);
export const sub = (a: Expr, b: Expr): Expr => bin('sub', a, b);
export const mul = (a: Expr, b: Expr): Expr => bin('mul', a, b);
export const div = (a: Expr, b: Expr): Expr => bin('div', a, b);
export const rem = (a: Expr, b: Expr): Expr => bin('rem', a, b);
export const min = (a: Expr, b: Expr): Expr => bin('min', a, b);
export const max = (a: Expr, b: Expr): Expr => bin('max', a, b);
export const pmin = (a: Expr, b: Expr): Expr => bin('pmin', a, b);
export const pmax = (a: Expr, b: Expr): Expr => bin('pmax', a, b);
export const and = (a: Expr, b: Expr): Expr => bin('and', a, b);
export const or = (a: Expr, b: Expr): Expr => bin('or', a, b);
export const xor = (a: Expr, b: Expr): Expr => bin('xor', a, b);
export const shl = (a: Expr, b: Expr): Expr => bin('shl', a, b);
export const shr = (a: Expr, b: Expr): Expr => bin('shr', a, b);
export const ushr = (a: Expr, b: Expr): Expr => bin('ushr', a, b);

const un = (op: UnaryOp, x: Expr, t: Scalar = x.t): Expr => ({ k: 'un', t, op, x });
export const neg = (x: Expr): Expr => un('neg', x);
export const abs = (x: Expr): Expr => un('abs', x);
export const sqrt = (x: Expr): Expr => un('sqrt', x);
export const floor = (x: Expr): Expr => un('floor', x);
export const ceil = (x: Expr): Expr => un('ceil', x);
export const trunc = (x: Expr): Expr => un('trunc', x);
/** Round to nearest, ties to even. */
export const nearest = (x: Expr): Expr => un('nearest', x);
export const bits = (x: Expr): Expr => un('bits', x, x.t === 'f64' ? 'i64' : 'i32');
export const frombits = (x: Expr): Expr => un('frombits', x, x.t === 'i64' ? 'f64' : 'f32');

function cmp(op: CompareOp, a: Expr, b: Expr): Expr {
  if (a.t !== b.t) fail('E901', `nest: ${op} of ${a.t} and ${b.t}`);
  return { k: 'cmp', t: 'i32', of: a.t, op, a, b };
}
export const lt = (a: Expr, b: Expr): Expr => cmp('lt', a, b);
export const le = (a: Expr, b: Expr): Expr => cmp('le', a, b);
export const gt = (a: Expr, b: Expr): Expr => cmp('gt', a, b);
export const ge = (a: Expr, b: Expr): Expr => cmp('ge', a, b);
export const eq = (a: Expr, b: Expr): Expr => cmp('eq', a, b);
export const ne = (a: Expr, b: Expr): Expr => cmp('ne', a, b);

export const cast = (t: Scalar, x: Expr): Expr => (x.t === t ? x : x.k === 'const' && x.t === 'i32' ? constant(t, x.v) : { k: 'cast', t, x });
/** c ≠ 0 ? a : b; both are evaluated. */
export const select = (c: Expr, a: Expr, b: Expr): Expr => {
  if (a.t !== b.t) fail('E901', `nest: select of ${a.t} and ${b.t}`);
  return { k: 'sel', t: a.t, c, a, b };
};
/** Calls SCALAR_FUNCTIONS[fn]; all of them take and return f32. */
export const call = (fn: string, ...args: Expr[]): Expr => ({ k: 'call', t: 'f32', fn, args });
