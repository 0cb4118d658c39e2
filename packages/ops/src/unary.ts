/** Elementwise functions of one tensor: each is a row of its scalar expression and its derivative. */
import type { GraphBuilder, ValueId } from '@bitloom/ir';
import { e, type Expr } from '@bitloom/kernel-spec';
import { type DType, DTYPES, isFloat } from '@bitloom/tensor';
import { none } from './attrs.js';
import { div, gated, greater, mul, neg, scale, scalarLike, shift, square, sub } from './compose.js';
import { byScalar, defineOp, type OpDef } from './def.js';
import { callIn, constantOf, wrapTo } from './integer.js';
import { type DTypeClass, expectClass, expectCount } from './shapes.js';

/** Cotangent of x from that of y; null where the derivative is zero almost everywhere. */
type Gradient = (b: GraphBuilder, dy: ValueId, x: ValueId, y: ValueId) => ValueId | null;

interface Row {
  readonly name: string;
  readonly summary: string;
  readonly accepts: DTypeClass;
  readonly out?: DType;
  readonly scalar: (x: Expr, t: DType) => Expr;
  /** null: the output is no float. */
  readonly gradient: null | Gradient;
}

const sqrt = (b: GraphBuilder, x: ValueId): ValueId => b.add('sqrt', [x]);
/** 1 − x² */
const oneMinusSquare = (b: GraphBuilder, x: ValueId): ValueId => sub(b, scalarLike(b, x, 1), square(b, x));

/** A row of an elementary function of kernel-spec (f64 is computed through f32). */
const elementary = (name: string, summary: string, gradient: Gradient): Row => ({
  name, summary, accepts: 'float', gradient, scalar: (x, t) => callIn(t, name, x),
});
/** A row of a float function that is a step or constant. */
const step = (name: string, summary: string, scalar: (x: Expr) => Expr): Row => ({ name, summary, accepts: 'float', scalar, gradient: () => null });

const rows: readonly Row[] = [
  {
    name: 'requantize', summary: 'x itself, which its readers may get at other bits than those at which it is kept', accepts: 'float',
    scalar: (x) => x, gradient: (_b, dy) => dy,
  },
  { name: 'neg', summary: '−x', accepts: 'signed', scalar: (x, t) => wrapTo(t, e.neg(x)), gradient: (b, dy) => neg(b, dy) },
  {
    name: 'abs', summary: '|x|; derivative 0 at 0', accepts: 'numeric',
    scalar: (x, t) => (DTYPES[t].kind === 'uint' ? x : wrapTo(t, e.abs(x))),
    gradient: (b, dy, x) => mul(b, dy, b.add('sign', [x])),
  },
  {
    name: 'sign', summary: '−1, 0 or 1; NaN stays', accepts: 'numeric',
    scalar: (x, t) => {
      const zero = constantOf(t, 0);
      const positive = e.select(DTYPES[t].kind === 'uint' ? e.ne(x, zero) : e.gt(x, zero), constantOf(t, 1), x);
      return DTYPES[t].kind === 'uint' ? positive : e.select(e.lt(x, zero), constantOf(t, -1), positive);
    },
    gradient: () => null,
  },
  {
    name: 'relu', summary: 'max(x, 0), NaN stays; derivative 0 at 0', accepts: 'signed',
    // For vectors pmax is one instruction everywhere.
    scalar: (x, t) => (isFloat(t) ? e.pmax : e.max)(x, constantOf(t, 0)),
    gradient: (b, dy, x) => gated(b, greater(b, x, scalarLike(b, x, 0)), dy),
  },
  step('floor', '⌊x⌋', e.floor),
  step('ceil', '⌈x⌉', e.ceil),
  step('round', 'nearest integer, ties to even', e.nearest),
  { name: 'sqrt', summary: '√x', accepts: 'float', scalar: (x) => e.sqrt(x), gradient: (b, dy, _x, y) => div(b, scale(b, dy, 0.5), y) },
  elementary('exp', 'eˣ', (b, dy, _x, y) => mul(b, dy, y)),
  elementary('log', 'natural logarithm', (b, dy, x) => div(b, dy, x)),
  elementary('sin', 'sine', (b, dy, x) => mul(b, dy, b.add('cos', [x]))),
  elementary('cos', 'cosine', (b, dy, x) => neg(b, mul(b, dy, b.add('sin', [x])))),
  elementary('tan', 'tangent', (b, dy, _x, y) => mul(b, dy, shift(b, square(b, y), 1))),
  elementary('asin', 'inverse sine', (b, dy, x) => div(b, dy, sqrt(b, oneMinusSquare(b, x)))),
  elementary('acos', 'inverse cosine', (b, dy, x) => neg(b, div(b, dy, sqrt(b, oneMinusSquare(b, x))))),
  elementary('atan', 'inverse tangent', (b, dy, x) => div(b, dy, shift(b, square(b, x), 1))),
  elementary('sinh', 'hyperbolic sine', (b, dy, x) => mul(b, dy, b.add('cosh', [x]))),
  elementary('cosh', 'hyperbolic cosine', (b, dy, x) => mul(b, dy, b.add('sinh', [x]))),
  elementary('tanh', 'hyperbolic tangent', (b, dy, _x, y) => mul(b, dy, oneMinusSquare(b, y))),
  elementary('asinh', 'inverse hyperbolic sine', (b, dy, x) => div(b, dy, sqrt(b, shift(b, square(b, x), 1)))),
  elementary('acosh', 'inverse hyperbolic cosine', (b, dy, x) => div(b, dy, sqrt(b, shift(b, square(b, x), -1)))),
  elementary('atanh', 'inverse hyperbolic tangent', (b, dy, x) => div(b, dy, oneMinusSquare(b, x))),
  elementary('erf', 'error function 2/√π ∫₀ˣ e^(−t²) dt', (b, dy, x) =>
    scale(b, mul(b, dy, b.add('exp', [neg(b, square(b, x))])), 2 / Math.sqrt(Math.PI))),
  elementary('sigmoid', '1 / (1 + e⁻ˣ)', (b, dy, _x, y) => mul(b, dy, sub(b, y, square(b, y)))),
  { name: 'not', summary: 'logical negation', accepts: 'bool', scalar: (x) => e.xor(x, e.i32(1)), gradient: null },
  { name: 'bitnot', summary: 'bitwise complement', accepts: 'integer', scalar: (x, t) => wrapTo(t, e.xor(x, constantOf(t, -1))), gradient: null },
  { name: 'isnan', summary: 'whether x is NaN', accepts: 'float', out: 'bool', scalar: (x) => e.ne(x, x), gradient: null },
];

export const unaryOps: readonly OpDef[] = rows.map((r) =>
  defineOp({
    name: r.name,
    summary: r.summary,
    attrs: none,
    infer(ins, _attrs, origin) {
      expectCount(ins, r.name, origin, 1);
      expectClass(ins[0], r.accepts, r.name, origin);
      return [{ dtype: r.out ?? ins[0].dtype, shape: ins[0].shape }];
    },
    gradient: r.gradient && ((b, { inputs: [x], outputs: [y], cotangents: [dy] }) => [r.gradient!(b, dy!, x, y)]),
    ...byScalar(([x], _attrs, _out, [t]) => r.scalar(x, t)),
  }),
);
