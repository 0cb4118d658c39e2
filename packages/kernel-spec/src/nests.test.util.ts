/** Random nests, and an interpreter of their own that shares nothing with the printers: integers are bigint throughout. */
import fc from 'fast-check';
import { DTYPES, type DType, type TypedArray } from '@bitloom/tensor';
import { type BinaryOp, type CompareOp, type Expr, type Nest, SCALAR_FUNCTIONS, type Scalar, type Stmt, scalarOf } from './index.js';

export const ALL_DTYPES = Object.keys(DTYPES) as DType[];
export const ELEMENTS = 5;
/** Operand i holds ALL_DTYPES[i], operand ALL_DTYPES.length + i is stored to. */
export const OPERANDS = [...ALL_DTYPES, ...ALL_DTYPES].map((dtype) => ({ dtype, elements: ELEMENTS }));

const INTS: readonly BinaryOp[] = ['add', 'sub', 'mul', 'div', 'rem', 'min', 'max', 'pmin', 'pmax', 'and', 'or', 'xor', 'shl', 'shr', 'ushr'];
const FLOATS: readonly BinaryOp[] = ['add', 'sub', 'mul', 'div', 'min', 'max', 'pmin', 'pmax'];
const FLOAT_UNARY = ['neg', 'abs', 'sqrt', 'floor', 'ceil', 'trunc', 'nearest'] as const;
const COMPARE: readonly CompareOp[] = ['lt', 'le', 'gt', 'ge', 'eq', 'ne'];
const SCALARS: readonly Scalar[] = ['i32', 'i64', 'f32', 'f64'];

const SPECIAL = [
  0, -0, 1, -1, 0.5, 1.5, 2.5, -0.5, 2147483647, 2147483648, -2147483648, 4294967296, 2 ** 53, 2 ** 63, -(2 ** 63), 1e-45, 1e300, NaN, Infinity, -Infinity,
];
const float = fc.oneof(fc.constantFrom(...SPECIAL), fc.double({ min: -300, max: 300 }), fc.double());
const VALUES: Readonly<Record<Scalar, fc.Arbitrary<number | bigint>>> = {
  i32: fc.oneof(fc.constantFrom(0, 1, -1, 2147483647, -2147483648), fc.integer()),
  i64: fc.oneof(
    fc.constantFrom(0n, 1n, -1n, 2n ** 63n - 1n, -(2n ** 63n), 2n ** 53n + 1n, (1n << 60n) + (1n << 36n) + 1n),
    fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }),
  ),
  f32: float.map(Math.fround),
  f64: float,
};

const vars: Readonly<Record<Scalar, string>> = { i32: 'vi', i64: 'vl', f32: 'vf', f64: 'vd' };

/** Expressions of each type over the operands and one variable per type. */
export const expressions = fc.letrec<Record<Scalar, Expr>>((tie) => {
  const of = (t: Scalar): fc.Arbitrary<Expr> => {
    const isFloat = t === 'f32' || t === 'f64';
    const leaf = fc.oneof(
      VALUES[t].map((v): Expr => ({ k: 'const', t, v: t === 'f32' ? Math.fround(Number(v)) : v })),
      fc.constant<Expr>({ k: 'var', t, name: vars[t] }),
      fc.tuple(fc.constantFrom(...ALL_DTYPES.flatMap((d, i) => (scalarOf(d) === t ? [i] : []))), fc.nat(ELEMENTS - 1))
        .map(([buf, at]): Expr => ({ k: 'load', t, buf, at: { k: 'const', t: 'i32', v: at } })),
    );
    const sub = (u: Scalar): fc.Arbitrary<Expr> => tie(u);
    const inner: fc.Arbitrary<Expr>[] = [
      fc.tuple(fc.constantFrom(...(isFloat ? FLOATS : INTS)), sub(t), sub(t)).map(([op, a, b]): Expr => ({ k: 'bin', t, op, a, b })),
      fc.tuple(sub('i32'), sub(t), sub(t)).map(([c, a, b]): Expr => ({ k: 'sel', t, c, a, b })),
      fc.constantFrom(...SCALARS).chain(sub).map((x): Expr => ({ k: 'cast', t, x })),
      fc.tuple(fc.constantFrom(...(isFloat ? FLOAT_UNARY : (['neg', 'abs'] as const))), sub(t)).map(([op, x]): Expr => ({ k: 'un', t, op, x })),
      isFloat
        ? sub(t === 'f32' ? 'i32' : 'i64').map((x): Expr => ({ k: 'un', t, op: 'frombits', x }))
        : sub(t === 'i32' ? 'f32' : 'f64').map((x): Expr => ({ k: 'un', t, op: 'bits', x })),
    ];
    if (t === 'i32') {
      inner.push(fc.tuple(fc.constantFrom(...SCALARS).chain((u) => fc.tuple(sub(u), sub(u))), fc.constantFrom(...COMPARE))
        .map(([[a, b], op]): Expr => ({ k: 'cmp', t: 'i32', of: a.t, op, a, b })));
    }
    if (t === 'f32') {
      inner.push(fc.constantFrom(...Object.keys(SCALAR_FUNCTIONS)).chain((fn) =>
        fc.tuple(...SCALAR_FUNCTIONS[fn].params.map(() => sub('f32'))).map((args): Expr => ({ k: 'call', t: 'f32', fn, args }))));
    }
    return fc.oneof({ maxDepth: 5, depthIdentifier: 'expression', withCrossShrink: true }, leaf, ...inner);
  };
  return { i32: of('i32'), i64: of('i64'), f32: of('f32'), f64: of('f64') };
});

/** Stores an expression of every type to every element type, from within loops, conditions and locals. */
export const nests: fc.Arbitrary<Nest> = fc.record({ ...expressions, c: expressions.i32 }).map((x) => {
  const at: Expr = { k: 'var', t: 'i32', name: 'vi' };
  const store = (dtype: DType, i: number): Stmt => ({ s: 'store', buf: ALL_DTYPES.length + i, at, x: x[scalarOf(dtype)] });
  const constant = (t: Scalar, v: number | bigint): Expr => ({ k: 'const', t, v });
  return {
    operands: OPERANDS,
    body: [
      { s: 'let', name: 'vl', x: constant('i64', 7n) },
      { s: 'let', name: 'vf', x: constant('f32', 1.5) },
      { s: 'let', name: 'vd', x: constant('f64', 0.1) },
      {
        s: 'for', v: 'vi', n: constant('i32', ELEMENTS), body: [
          ...ALL_DTYPES.map(store),
          {
            s: 'if', c: x.c,
            then: [{ s: 'set', name: 'vf', x: x.f32 }, { s: 'set', name: 'vl', x: x.i64 }],
            else: [{ s: 'set', name: 'vd', x: x.f64 }],
          },
        ],
      },
    ],
  };
});

/** Operands with random contents. */
export const contents: fc.Arbitrary<TypedArray[]> = fc
  .tuple(...ALL_DTYPES.map((d) => fc.array(VALUES[scalarOf(d)], { minLength: ELEMENTS, maxLength: ELEMENTS })))
  .map((all) => [...all.map((values, i) => fill(ALL_DTYPES[i], values)), ...ALL_DTYPES.map((d) => new DTYPES[d].array(ELEMENTS))]);

function fill(dtype: DType, values: readonly (number | bigint)[]): TypedArray {
  const out = new DTYPES[dtype].array(values.length);
  values.forEach((v, i) => (out[i] = dtype === 'u32' ? Number(BigInt.asUintN(32, BigInt(v))) : v));
  return out;
}

type Value = number | bigint;
const view = new DataView(new ArrayBuffer(8));
const isFloat = (t: Scalar): boolean => t === 'f32' || t === 'f64';
const width = (t: Scalar): number => (t === 'i32' || t === 'f32' ? 32 : 64);
const wrap = (t: Scalar, v: bigint): bigint => BigInt.asIntN(width(t), v);

/** Integer to float with one rounding, by shifting to the significand's width. */
function toFloat(v: bigint, precision: number): number {
  const a = v < 0n ? -v : v;
  const extra = BigInt(Math.max(0, a.toString(2).length - precision));
  const low = a & ((1n << extra) - 1n);
  const half = extra > 0n ? 1n << (extra - 1n) : 0n;
  let high = a >> extra;
  if (extra > 0n && (low > half || (low === half && (high & 1n) === 1n))) high += 1n;
  return Number(high << extra) * (v < 0n ? -1 : 1);
}

function toInt(x: number, t: Scalar): bigint {
  if (Number.isNaN(x)) return 0n;
  const [lo, hi] = [-(2n ** BigInt(width(t) - 1)), 2n ** BigInt(width(t) - 1) - 1n];
  const v = Math.abs(x) === Infinity ? (x > 0 ? hi : lo) : BigInt(Math.trunc(x));
  return v < lo ? lo : v > hi ? hi : v;
}

function nearest(x: number): number {
  const low = Math.floor(x);
  const d = x - low;
  const r = d < 0.5 || (d === 0.5 && low % 2 === 0) ? low : low + 1;
  return Number.isFinite(x) ? (r === 0 && (x < 0 || Object.is(x, -0)) ? -0 : r) : x;
}

function binary(op: BinaryOp, t: Scalar, a: Value, b: Value): Value {
  if (op === 'pmin') return b < a ? b : a;
  if (op === 'pmax') return a < b ? b : a;
  if (isFloat(t)) {
    const [x, y] = [Number(a), Number(b)];
    switch (op) {
      case 'add': return x + y;
      case 'sub': return x - y;
      case 'mul': return x * y;
      case 'div': return x / y;
      default:
        if (Number.isNaN(x) || Number.isNaN(y)) return NaN;
        if (x === 0 && y === 0) return Object.is(x, -0) === (op === 'min') ? x : y;
        return x < y === (op === 'min') ? x : y;
    }
  }
  const [x, y] = [a as bigint, b as bigint];
  const count = BigInt.asUintN(64, y) % BigInt(width(t));
  switch (op) {
    case 'add': return x + y;
    case 'sub': return x - y;
    case 'mul': return x * y;
    case 'div': return y === 0n ? 0n : x / y;
    case 'rem': return y === 0n ? 0n : x % y;
    case 'min': return x < y ? x : y;
    case 'max': return x > y ? x : y;
    case 'and': return x & y;
    case 'or': return x | y;
    case 'xor': return x ^ y;
    case 'shl': return x << count;
    case 'shr': return x >> count;
    default: return BigInt.asUintN(width(t), x) >> count;
  }
}

/** The value of an expression by the text of nest.ts; f32 and f64 are numbers, i32 and i64 bigint. */
export function evaluate(x: Expr, operands: readonly TypedArray[], scope: ReadonlyMap<string, Value>): Value {
  const go = (y: Expr): Value => evaluate(y, operands, scope);
  const typed = (v: Value): Value => (x.t === 'f32' ? Math.fround(v as number) : x.t === 'f64' ? v : wrap(x.t, v as bigint));
  switch (x.k) {
    case 'const':
      return isFloat(x.t) ? x.v : BigInt(x.v);
    case 'var':
      return scope.get(x.name)!;
    case 'load': {
      const v = operands[x.buf][Number(go(x.at))];
      return isFloat(x.t) ? v : wrap(x.t, BigInt(v));
    }
    case 'bin':
      return typed(binary(x.op, x.t, go(x.a), go(x.b)));
    case 'cmp': {
      const [a, b] = [go(x.a), go(x.b)];
      const holds = { lt: a < b, le: a <= b, gt: a > b, ge: a >= b, eq: a === b, ne: a !== b };
      return holds[x.op] ? 1n : 0n;
    }
    case 'sel':
      return go(x.c) !== 0n ? go(x.a) : go(x.b);
    case 'cast': {
      const v = go(x.x);
      if (isFloat(x.t)) return typeof v === 'bigint' ? toFloat(v, x.t === 'f32' ? 24 : 53) : typed(v);
      return typeof v === 'number' ? toInt(v, x.t) : wrap(x.t, v);
    }
    case 'un': {
      const v = go(x.x);
      if (x.op === 'frombits') {
        view.setBigUint64(0, BigInt.asUintN(64, (v as bigint) << BigInt(64 - width(x.t))));
        return x.t === 'f32' ? view.getFloat32(0) : view.getFloat64(0);
      }
      if (x.op === 'bits') {
        if (Number.isNaN(v)) return x.t === 'i32' ? 0x7fc00000n : 0x7ff8000000000000n;
        if (x.t === 'i32') view.setFloat32(0, v as number);
        else view.setFloat64(0, v as number);
        return x.t === 'i32' ? BigInt(view.getInt32(0)) : view.getBigInt64(0);
      }
      if (typeof v === 'bigint') return typed(x.op === 'neg' || v < 0n ? -v : v);
      const f = { neg: (y: number) => -y, abs: Math.abs, sqrt: Math.sqrt, floor: Math.floor, ceil: Math.ceil, trunc: Math.trunc, nearest };
      return typed(f[x.op](v));
    }
    case 'call': {
      const f = SCALAR_FUNCTIONS[x.fn];
      const inner = new Map<string, Value>(f.params.map((p, i) => [p, go(x.args[i])]));
      for (const l of f.lets) inner.set(l.name, evaluate(l.x, [], inner));
      return evaluate(f.result, [], inner);
    }
  }
}

/** Runs statements over operands by {@link evaluate}. */
export function interpret(body: readonly Stmt[], operands: readonly TypedArray[], dtypes: readonly DType[], scope = new Map<string, Value>()): void {
  for (const s of body) {
    const value = (x: Expr): Value => evaluate(x, operands, scope);
    if (s.s === 'let' || s.s === 'set') scope.set(s.name, value(s.x));
    else if (s.s === 'if') interpret(value(s.c) !== 0n ? s.then : s.else, operands, dtypes, scope);
    else if (s.s === 'for') {
      const n = value(s.n) as bigint;
      for (let i = 0n; i < n; i++) interpret(s.body, operands, dtypes, scope.set(s.v, i));
    } else {
      const v = value(s.x);
      const [array, at] = [operands[s.buf], Number(value(s.at))];
      if (array instanceof BigInt64Array || array instanceof BigUint64Array) array[at] = v as bigint;
      else array[at] = Number(typeof v === 'bigint' ? BigInt.asUintN(DTYPES[dtypes[s.buf]].bytes * 8, v) : v);
    }
  }
}
