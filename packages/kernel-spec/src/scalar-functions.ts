/**
 * Elementary functions as straight-line f32 programs in our own expression form, so that every backend prints them once per
 * language, scalar and vectorised, with identical bits. Polynomials are minimax fits with coefficients rounded to f32.
 */
import * as e from './expr.js';
import type { Expr } from './nest.js';

/**
 * `lets` are f32 or i32, evaluated in order. So that each expression maps lane-wise onto f32x4/i32x4 there are no loads, no
 * 64-bit types, no integer division, shift counts are constants, and results of comparisons are used only as conditions,
 * directly or joined by `and`/`or`. `call` may name other entries.
 */
export interface ScalarFunction {
  readonly params: readonly string[];
  readonly lets: readonly { readonly name: string; readonly x: Expr }[];
  readonly result: Expr;
  /** Largest error, in units in the last place of the f32 result (2^−149 for subnormal ones), for arguments in `domain`. */
  readonly maxUlp: number;
  /** Arguments for which the bound holds. Outside it results are still finite or what IEEE 754 and C99 Annex F say, unless stated. */
  readonly domain: string;
}

/** Names a value so that it is computed once. */
type Let = (x: Expr) => Expr;

function define(maxUlp: number, domain: string, body: (name: Let, x: Expr, y: Expr) => Expr, params: readonly string[] = ['x']): ScalarFunction {
  const lets: { name: string; x: Expr }[] = [];
  const named: Let = (x) => {
    if (x.k === 'const' || x.k === 'var') return x;
    const name = `t${lets.length}`;
    lets.push({ name, x });
    return { k: 'var', t: x.t, name };
  };
  const variable = (name: string): Expr => ({ k: 'var', t: 'f32', name });
  const result = body(named, variable('x'), variable('y'));
  return { params, lets, result, maxUlp, domain };
}

const { add, sub, mul, div, abs, select, f32, i32, bits, frombits, lt, gt, eq, call } = e;

const SIGN = i32(0x80000000);
/** Upper half of the significand: products of two such values are exact. */
const HIGH = i32(0xfffff000);
const NAN = f32(NaN);
const INF = f32(Infinity);
const LOG2E = Math.LOG2E;
/** ln 2 in two parts; the first has few enough bits that its products with exponents are exact. */
const LN2_HI = f32(0.693145751953125);
const LN2_LO = f32(1.4286068203094173e-6);

/** c₀ + c₁·x + c₂·x² … */
const poly = (x: Expr, ...c: readonly number[]): Expr =>
  c.slice(0, -1).reduceRight<Expr>((sum, v) => add(f32(v), mul(x, sum)), f32(c.at(-1)!));
/** The value of `r`, which is not negative, with the sign of `x`. */
const withSign = (r: Expr, x: Expr): Expr => frombits(e.or(bits(r), e.and(bits(x), SIGN)));
const truncate = (x: Expr): Expr => frombits(e.and(bits(x), HIGH));

/** y·2^n for −252 ≤ n ≤ 254, in two steps of which only the second can round. */
function scale(name: Let, y: Expr, n: Expr): Expr {
  const half = name(e.shr(n, i32(1)));
  const power = (k: Expr): Expr => frombits(e.shl(add(k, i32(127)), i32(23)));
  return mul(mul(y, power(half)), power(sub(n, half)));
}

/** e^x·2^shift: x = n·ln 2 + r, |r| ≤ ln(2)/2 (Cody and Waite), e^r = 1 + r + r²·P(r). */
function exponential(name: Let, x: Expr, shift: number): Expr {
  const u = name(e.pmax(e.pmin(x, f32(90)), f32(-105)));
  const n = name(e.nearest(mul(u, f32(LOG2E))));
  const r = name(sub(sub(u, mul(n, LN2_HI)), mul(n, LN2_LO)));
  const p = add(r, mul(mul(r, r), poly(r, 0.49999994, 0.166665196, 0.0416682549, 0.00836885069, 0.00138220203)));
  return scale(name, name(add(f32(1), p)), name(add(e.cast('i32', n), i32(shift))));
}

/** u = 2^k·m with √½ ≤ m < √2, for normal positive u. */
function split(name: Let, u: Expr): { k: Expr; m: Expr } {
  const shifted = name(add(bits(u), i32(0x3f800000 - 0x3f3504f3)));
  return { k: sub(e.shr(shifted, i32(23)), i32(127)), m: name(frombits(add(e.and(shifted, i32(0x7fffff)), i32(0x3f3504f3)))) };
}

/**
 * ln(2^k·(u + u·c)) for normal u > 0 and tiny c: with s = f/(2 + f), ln(1 + f) = f − f²/2 + s·(f²/2 + s²·R(s²)) (fdlibm).
 */
function logarithm(name: Let, u: Expr, c: Expr, k: Expr): Expr {
  const { k: exponent, m } = split(name, u);
  const n = name(e.cast('f32', add(exponent, k)));
  const f = name(sub(m, f32(1)));
  const s = name(div(f, add(f, f32(2))));
  const z = name(mul(s, s));
  const half = name(mul(f32(0.5), mul(f, f)));
  const tail = mul(s, add(half, mul(z, poly(z, 0.666667819, 0.399768531, 0.298905581))));
  return add(mul(n, LN2_HI), add(f, sub(add(tail, add(mul(n, LN2_LO), c)), half)));
}

/** 1 + y as a rounded sum u, and (1 + y − u)/u. */
function onePlus(name: Let, y: Expr): { u: Expr; c: Expr } {
  const u = name(add(f32(1), y));
  const rest = select(e.ge(u, f32(2)), sub(f32(1), sub(u, y)), sub(y, sub(u, f32(1))));
  return { u, c: div(rest, u) };
}

/** sin and cos of a − q·π/2 for a ≥ 0, reduced with π/2 in four parts; the remainder is kept as r + low. */
function quadrant(name: Let, a: Expr): { q: Expr; sin: Expr; cos: Expr } {
  const n = name(e.nearest(mul(a, f32(2 / Math.PI))));
  const r0 = name(sub(sub(a, mul(n, f32(1.5703125))), mul(n, f32(0.0004837512969970703))));
  const third = name(mul(n, f32(7.549533620476723e-8)));
  const r1 = name(sub(r0, third));
  const rest = name(sub(mul(n, f32(2.563344151594519e-12)), sub(sub(r0, r1), third)));
  const exact = name(sub(r1, rest));
  const low = name(e.pmax(e.pmin(sub(sub(r1, exact), rest), f32(2 ** -24)), f32(-(2 ** -24))));
  const r = name(e.pmax(e.pmin(exact, f32(0.79)), f32(-0.79)));
  const z = name(mul(r, r));
  const sin = name(add(r, add(mul(mul(r, z), poly(z, -0.166666552, 0.00833218824, -0.000195180983)), low)));
  const half = name(mul(f32(0.5), z));
  const w = name(sub(f32(1), half));
  const tail = sub(mul(mul(z, z), poly(z, 0.0416666456, -0.00138873106, 2.44325511e-5)), mul(r, low));
  const cos = name(add(w, add(sub(sub(f32(1), w), half), tail)));
  return { q: name(e.cast('i32', n)), sin, cos };
}
const isEven = (q: Expr): Expr => eq(e.and(q, i32(1)), i32(0));
/** Flips the sign of v where bit `bit` of q is set. */
const flip = (v: Expr, q: Expr, bit: number): Expr => frombits(e.xor(bits(v), e.and(e.shl(q, i32(31 - bit)), SIGN)));

/** p ≈ asin(s) for s = |x| ≤ ½, else for s = √((1 − |x|)/2), so that asin|x| = π/2 − 2p. */
function arcsine(name: Let, a: Expr): { big: Expr; p: Expr } {
  const big = gt(a, f32(0.5));
  const z = name(select(big, mul(sub(f32(1), a), f32(0.5)), mul(a, a)));
  const s = name(select(big, e.sqrt(z), a));
  return { big, p: name(add(s, mul(mul(s, z), poly(z, 0.166667521, 0.0749530941, 0.0454691499, 0.0241847783, 0.0421583056)))) };
}
const PI_2 = Math.PI / 2;
const PI_2_LOW = PI_2 - Math.fround(PI_2);

/** log₂ of a normal or subnormal a > 0 in two parts, the first of 12 bits, after FreeBSD's e_powf.c. */
function log2Extended(name: Let, a: Expr): { high: Expr; low: Expr } {
  const small = lt(a, f32(2 ** -126));
  const { k, m } = split(name, name(select(small, mul(a, f32(2 ** 23)), a)));
  const n = name(e.cast('f32', add(k, select(small, i32(-23), i32(0)))));
  // s = (m − 1)/(m + 1) as sHigh + sLow; log₂ m = ⅔·log₂(e)·s·(3 + s² + s⁴·R(s²)).
  const f = name(sub(m, f32(1)));
  const d = name(add(m, f32(1)));
  const dRest = sub(m, sub(d, f32(1)));
  const dHigh = name(truncate(d));
  const s = name(div(f, d));
  const sHigh = name(truncate(s));
  const remainder = sub(sub(sub(f, mul(sHigh, dHigh)), mul(sHigh, sub(d, dHigh))), mul(sHigh, dRest));
  const sLow = name(div(remainder, d));
  // 3 + s² + s⁴·R(s²) as tHigh + tLow; times s gives uHigh + uLow.
  const z = name(mul(s, s));
  const r = name(add(mul(mul(z, z), poly(z, 0.600002348, 0.428199887, 0.35145697)), mul(sLow, add(sHigh, s))));
  const square = name(mul(sHigh, sHigh));
  const tHigh = name(truncate(add(add(square, f32(3)), r)));
  const tLow = sub(r, sub(sub(tHigh, f32(3)), square));
  const u = name(mul(sHigh, tHigh));
  const v = name(add(mul(sLow, tHigh), mul(tLow, s)));
  const uHigh = name(truncate(add(u, v)));
  const uLow = sub(v, sub(uHigh, u));
  const C = (2 / 3) * LOG2E;
  const CHigh = 0.961669921875;
  const high = name(mul(uHigh, f32(CHigh)));
  const low = name(add(mul(uHigh, f32(C - CHigh)), mul(uLow, f32(C))));
  const sum = name(truncate(add(add(high, low), n)));
  return { high: sum, low: name(sub(low, sub(sub(sum, n), high))) };
}

/** |x|^y for |x| ≠ 0, ∞ and y not NaN: 2^(y·log₂|x|). */
function power(name: Let, a: Expr, y: Expr): Expr {
  const { high, low } = log2Extended(name, a);
  // Beyond ±1e30 every result but 1^y is 0 or ∞ already, and the products below stay finite.
  const v = name(e.pmax(e.pmin(y, f32(1e30)), f32(-1e30)));
  const vHigh = name(truncate(v));
  const pHigh = name(mul(vHigh, high));
  const pLow = name(add(mul(sub(v, vHigh), high), mul(v, low)));
  const n = name(e.nearest(e.pmax(e.pmin(add(pHigh, pLow), f32(130)), f32(-152))));
  const r = name(e.pmax(e.pmin(add(sub(pHigh, n), pLow), f32(1)), f32(-1)));
  const y0 = add(f32(1), mul(r, poly(r, 0.693147182, 0.240226477, 0.0555035919, 0.00961849838, 0.00133911869, 0.000153299799)));
  return scale(name, name(y0), name(e.cast('i32', n)));
}

const ALL = 'all x';

/** Entries by name. NaN arguments give NaN, but pow(1, NaN) = pow(NaN, 0) = 1. */
export const SCALAR_FUNCTIONS: Readonly<Record<string, ScalarFunction>> = {
  exp: define(1.5, ALL, (name, x) => exponential(name, x, 0)),

  expm1: define(2.5, ALL, (name, x) => {
    // 2^n·(e^r − 1) + (2^n − 1), halved to stay in range.
    const u = name(e.pmax(e.pmin(x, f32(89)), f32(-18)));
    const n = name(e.nearest(mul(u, f32(LOG2E))));
    const r = name(sub(sub(u, mul(n, LN2_HI)), mul(n, LN2_LO)));
    const p = add(r, mul(mul(r, r), poly(r, 0.5, 0.166666657, 0.0416664593, 0.00833356474, 0.00139354623, 0.000197456189)));
    const s = name(frombits(e.shl(add(e.cast('i32', n), i32(126)), i32(23))));
    return select(lt(abs(x), f32(2 ** -25)), x, mul(f32(2), add(mul(p, s), sub(s, f32(0.5)))));
  }),

  log: define(1.5, ALL, (name, x) => {
    const small = lt(x, f32(2 ** -126));
    const u = name(select(small, mul(x, f32(2 ** 23)), x));
    const r = logarithm(name, u, f32(0), select(small, i32(-23), i32(0)));
    return select(lt(x, INF), select(gt(x, f32(0)), r, select(eq(x, f32(0)), f32(-Infinity), NAN)), x);
  }),

  log1p: define(2, ALL, (name, x) => {
    const { u, c } = onePlus(name, x);
    const r = select(lt(abs(x), f32(2 ** -25)), x, logarithm(name, u, c, i32(0)));
    return select(lt(x, INF), select(gt(x, f32(-1)), r, select(eq(x, f32(-1)), f32(-Infinity), NAN)), x);
  }),

  /** ln(1 + e^x) = max(x, 0) + ln(1 + e^−|x|). */
  softplus: define(3, ALL, (_, x) => add(e.pmax(x, f32(0)), call('log1p', call('exp', e.neg(abs(x)))))),

  sigmoid: define(3, ALL, (name, x) => {
    const t = name(call('exp', e.neg(abs(x))));
    return div(select(lt(x, f32(0)), t, f32(1)), add(f32(1), t));
  }),

  tanh: define(2, ALL, (name, x) => {
    const a = name(abs(x));
    const z = name(mul(a, a));
    const small = add(a, mul(mul(a, z), poly(z, -0.333332598, 0.133308291, -0.0536879115, 0.0204690564, -0.0055147768)));
    const big = sub(f32(1), div(f32(2), add(call('exp', mul(f32(2), e.pmin(a, f32(10)))), f32(1))));
    return withSign(select(lt(a, f32(0.625)), small, big), x);
  }),

  erf: define(2, ALL, (name, x) => {
    // |x| ≤ 1: x + x·Q(x²); beyond: 1 − e^−(a + a·P(a)).
    const a = name(e.pmin(abs(x), f32(4)));
    const z = name(mul(a, a));
    const small = add(a, mul(a, poly(z, 0.128379166, -0.37612626, 0.112835787, -0.0268533472, 0.0051871622, -0.00079978531, 7.80690316e-5)));
    const t = poly(a, 0.128637075, 0.635198057, 0.106158964, -0.0236944426, 0.0036102545, -0.000314827834, 1.04290157e-5);
    const big = sub(f32(1), call('exp', e.neg(add(a, mul(a, t)))));
    return withSign(select(e.le(a, f32(1)), small, big), x);
  }),

  sinh: define(2.5, ALL, (name, x) => {
    const a = name(abs(x));
    const z = name(mul(a, a));
    const small = add(a, mul(mul(a, z), poly(z, 0.166666672, 0.00833331048, 0.000198428956, 2.78221319e-6)));
    const half = name(exponential(name, a, -1));
    return withSign(select(lt(a, f32(1)), small, sub(half, div(f32(0.25), half))), x);
  }),

  cosh: define(2, ALL, (name, x) => {
    const half = name(exponential(name, abs(x), -1));
    return add(half, div(f32(0.25), half));
  }),

  asinh: define(2.5, ALL, (name, x) => {
    // ln(a + √(a² + 1)) = log1p(a + a²/(1 + √(a² + 1))); for large a, ln 2a.
    const a = name(abs(x));
    const big = gt(a, f32(4096));
    const z = name(mul(a, a));
    const { u, c } = onePlus(name, name(add(a, div(z, add(f32(1), e.sqrt(add(z, f32(1))))))));
    const r = logarithm(name, name(select(big, a, u)), name(select(big, f32(0), c)), select(big, i32(1), i32(0)));
    return withSign(select(lt(a, INF), r, a), x);
  }),

  acosh: define(2.5, 'x ≥ 1', (name, x) => {
    // ln(x + √(x² − 1)) = log1p(t + √(t·(t + 2))), t = x − 1; for large x, ln 2x.
    const big = gt(x, f32(4096));
    const t = name(sub(x, f32(1)));
    const { u, c } = onePlus(name, name(add(t, e.sqrt(mul(t, add(t, f32(2)))))));
    const r = logarithm(name, name(select(big, x, u)), name(select(big, f32(0), c)), select(big, i32(1), i32(0)));
    return select(lt(x, INF), select(lt(x, f32(1)), NAN, r), x);
  }),

  /** ½·log1p(2a/(1 − a)). */
  atanh: define(3, '|x| ≤ 1', (name, x) => {
    const a = name(abs(x));
    return withSign(mul(f32(0.5), call('log1p', mul(f32(2), div(a, sub(f32(1), a))))), x);
  }),

  sin: define(1.5, '|x| ≤ 1e4; beyond, the error grows with |x| and the result stays in [−1, 1]', (name, x) => {
    const { q, sin, cos } = quadrant(name, name(abs(x)));
    return frombits(e.xor(bits(flip(select(isEven(q), sin, cos), q, 1)), e.and(bits(x), SIGN)));
  }),

  cos: define(1.5, '|x| ≤ 1e4; beyond, the error grows with |x| and the result stays in [−1, 1]', (name, x) => {
    const { q, sin, cos } = quadrant(name, name(abs(x)));
    return flip(select(isEven(q), cos, sin), add(q, i32(1)), 1);
  }),

  tan: define(3, '|x| ≤ 1e4; beyond, the error grows with |x|', (name, x) => {
    const { q, sin, cos } = quadrant(name, name(abs(x)));
    const even = isEven(q);
    const t = div(select(even, sin, cos), select(even, cos, sin));
    return frombits(e.xor(bits(flip(t, q, 0)), e.and(bits(x), SIGN)));
  }),

  asin: define(3, '|x| ≤ 1', (name, x) => {
    const { big, p } = arcsine(name, name(abs(x)));
    return withSign(select(big, sub(f32(PI_2), sub(mul(f32(2), p), f32(PI_2_LOW))), p), x);
  }),

  acos: define(2, '|x| ≤ 1', (name, x) => {
    const { big, p } = arcsine(name, name(abs(x)));
    const twice = name(mul(f32(2), p));
    const far = select(lt(x, f32(0)), sub(f32(2 * PI_2), sub(twice, f32(2 * PI_2_LOW))), twice);
    return select(big, far, sub(f32(PI_2), sub(withSign(p, x), f32(PI_2_LOW))));
  }),

  atan: define(2.5, ALL, (name, x) => {
    // atan a = π/2 + atan(−1/a) = π/4 + atan((a − 1)/(a + 1)).
    const a = name(abs(x));
    const far = gt(a, f32(2.41421366));
    const mid = gt(a, f32(0.414213568));
    const t = name(div(select(far, f32(-1), select(mid, sub(a, f32(1)), a)), select(far, a, select(mid, add(a, f32(1)), f32(1)))));
    const z = name(mul(t, t));
    const p = add(t, mul(mul(t, z), poly(z, -0.333333164, 0.199985266, -0.142443448, 0.105987281, -0.0608873554)));
    const base = select(far, f32(PI_2), select(mid, f32(PI_2 / 2), f32(0)));
    const low = select(far, f32(PI_2_LOW), select(mid, f32(PI_2_LOW / 2), f32(0)));
    return withSign(add(base, add(p, low)), x);
  }),

  /** x^y with the special cases of C99 F.9.4.4 (and numpy). */
  pow: define(2, ALL, (name, x, y) => {
    const a = name(abs(x));
    const zero = eq(a, f32(0));
    const inf = eq(a, INF);
    const one = eq(a, f32(1));
    const half = name(mul(y, f32(0.5)));
    const integer = eq(e.trunc(y), y);
    const odd = e.and(integer, e.ne(e.trunc(half), half));
    const finite = name(power(name, a, y));
    const up = select(gt(y, f32(0)), INF, f32(0));
    const down = select(lt(y, f32(0)), INF, f32(0));
    const r = name(select(one, f32(1), select(zero, down, select(inf, up, finite))));
    const signed = frombits(e.or(bits(r), select(odd, e.and(bits(x), SIGN), i32(0))));
    const bad = e.and(e.and(lt(x, f32(0)), e.ne(a, INF)), e.ne(e.trunc(y), y));
    const nan = e.or(e.ne(x, x), e.ne(y, y));
    return select(e.or(eq(y, f32(0)), eq(x, f32(1))), f32(1), select(e.or(bad, nan), NAN, signed));
  }, ['x', 'y']),
};
