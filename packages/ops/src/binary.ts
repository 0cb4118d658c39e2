/** Elementwise functions of two tensors with numpy broadcasting: each is a row of its scalar expression and its derivatives. */
import type { GraphBuilder, ValueId } from '@bitloom/ir';
import { e, type Expr } from '@bitloom/kernel-spec';
import { type DType, DTYPES, isFloat } from '@bitloom/tensor';
import { z } from 'zod';
import { none } from './attrs.js';
import { div, greater, mul, neg, scalarLike, shift, sub, sumToShape } from './compose.js';
import { byScalar, defineOp, type OpDef } from './def.js';
import { callIn, constantOf, divide, integerPower, lessOrEqual, lessThan, maximum, minimum, remainder, wrapTo } from './integer.js';
import { type DTypeClass, broadcastAll, expectClass, expectCount, expectSameDType } from './shapes.js';

interface Row<A> {
  readonly name: string;
  readonly summary: string;
  readonly attrs: z.ZodType<A>;
  readonly accepts: DTypeClass;
  readonly out?: DType;
  readonly scalar: (x: Expr, y: Expr, t: DType, attrs: A) => Expr;
  /** Cotangents of both operands, still of the output's shape. */
  readonly gradient: null | ((b: GraphBuilder, dz: ValueId, x: ValueId, y: ValueId, z: ValueId) => readonly [ValueId, ValueId]);
}

const row = <A>(r: Row<A>): OpDef =>
  defineOp<A>({
    name: r.name,
    summary: r.summary,
    attrs: r.attrs,
    infer(ins, _attrs, origin) {
      expectCount(ins, r.name, origin, 2);
      expectSameDType(ins, r.name, origin);
      expectClass(ins[0], r.accepts, r.name, origin);
      return [{ dtype: r.out ?? ins[0].dtype, shape: broadcastAll(ins, r.name, origin) }];
    },
    gradient: r.gradient && ((b, { inputs: [x, y], outputs: [z], cotangents: [dz] }) =>
      r.gradient!(b, dz!, x, y, z).map((d, i) => sumToShape(b, d, b.shapeOf([x, y][i])))),
    ...byScalar<A>(([x, y], attrs, _out, [t]) => r.scalar(x, y, t, attrs)),
  });

/** Cotangents where z is x or y: x's where `takesY` is false. */
function choose(b: GraphBuilder, takesY: ValueId, dz: ValueId): readonly [ValueId, ValueId] {
  const zero = scalarLike(b, dz, 0);
  return [b.add('select', [takesY, zero, dz]), b.add('select', [takesY, dz, zero])];
}

/** Float remainder x − y·t(x/y) in f64, where it is exact for f32 operands with |x/y| < 2²⁹. */
function floatRemainder(x: Expr, y: Expr, t: (q: Expr) => Expr): Expr {
  const [p, q] = [e.cast('f64', x), e.cast('f64', y)];
  const r = e.sub(p, e.mul(q, t(e.div(p, q))));
  return e.cast(x.t, e.select(e.eq(e.abs(q), e.f64(Infinity)), p, r));
}

const modAttrs = z.strictObject({ fmod: z.boolean() });
export type ModAttrs = z.infer<typeof modAttrs>;
const shiftAttrs = z.strictObject({ right: z.boolean() });
export type ShiftAttrs = z.infer<typeof shiftAttrs>;

export const binaryOps: readonly OpDef[] = [
  row({
    name: 'add', summary: 'x + y; integers wrap', accepts: 'numeric', attrs: none,
    scalar: (x, y, t) => wrapTo(t, e.add(x, y)),
    gradient: (_b, dz) => [dz, dz],
  }),
  row({
    name: 'sub', summary: 'x − y; integers wrap', accepts: 'numeric', attrs: none,
    scalar: (x, y, t) => wrapTo(t, e.sub(x, y)),
    gradient: (b, dz) => [dz, neg(b, dz)],
  }),
  row({
    name: 'mul', summary: 'x · y; integers wrap', accepts: 'numeric', attrs: none,
    scalar: (x, y, t) => wrapTo(t, e.mul(x, y)),
    gradient: (b, dz, x, y) => [mul(b, dz, y), mul(b, dz, x)],
  }),
  row({
    name: 'div', summary: 'x / y; integers truncate towards zero, and give 0 for y = 0', accepts: 'numeric', attrs: none,
    scalar: (x, y, t) => divide(t, x, y),
    gradient(b, dz, _x, y, z) {
      const dx = div(b, dz, y);
      return [dx, neg(b, mul(b, dx, z))];
    },
  }),
  row({
    name: 'pow', summary: 'xʸ; derivative by y 0 where x ≤ 0; integer exponents above 63 count as 63', accepts: 'numeric', attrs: none,
    scalar: (x, y, t) => (isFloat(t) ? callIn(t, 'pow', x, y) : integerPower(t, x, y)),
    gradient(b, dz, x, y, z) {
      const [zero, one] = [scalarLike(b, x, 0), scalarLike(b, x, 1)];
      // x⁰ is constant also at x = 0, where x⁻¹ is not finite.
      const below = b.add('select', [b.add('equal', [y, zero]), one, shift(b, y, -1)]);
      const logX = b.add('log', [b.add('select', [greater(b, x, zero), x, one])]);
      return [mul(b, dz, mul(b, y, b.add('pow', [x, below]))), mul(b, dz, mul(b, z, logX))];
    },
  }),
  row({
    name: 'min', summary: 'the smaller, NaN if either is; ties give their derivative to x', accepts: 'numeric', attrs: none,
    scalar: (x, y, t) => minimum(t, x, y),
    gradient: (b, dz, x, y) => choose(b, b.add('less', [y, x]), dz),
  }),
  row({
    name: 'max', summary: 'the larger, NaN if either is; ties give their derivative to x', accepts: 'numeric', attrs: none,
    scalar: (x, y, t) => maximum(t, x, y),
    gradient: (b, dz, x, y) => choose(b, b.add('less', [x, y]), dz),
  }),
  row({
    name: 'mod',
    summary: 'remainder with the sign of y, or of x where `fmod`; 0 for an integer y = 0',
    accepts: 'numeric', attrs: modAttrs,
    scalar(x, y, t, { fmod }) {
      if (isFloat(t)) return floatRemainder(x, y, fmod ? e.trunc : e.floor);
      const r = remainder(t, x, y);
      if (fmod || DTYPES[t].kind === 'uint') return r;
      const zero = constantOf(t, 0);
      return e.select(e.and(e.ne(r, zero), e.lt(e.xor(r, y), zero)), e.add(r, y), r);
    },
    gradient: (b, dz, x, y, z) => [dz, neg(b, mul(b, dz, b.add('round', [div(b, sub(b, x, z), y)])))],
  }),
  row({
    name: 'shift', summary: 'x shifted by y bits, to the right where `right` (sign kept), else to the left',
    accepts: 'integer', attrs: shiftAttrs,
    scalar(x, y, t, { right }) {
      if (!right) return wrapTo(t, e.shl(x, y));
      return DTYPES[t].kind === 'uint' ? e.ushr(x, y) : e.shr(x, y);
    },
    gradient: null,
  }),
  row({ name: 'and', summary: 'conjunction, bitwise for integers', accepts: 'bits', attrs: none, scalar: e.and, gradient: null }),
  row({ name: 'or', summary: 'disjunction, bitwise for integers', accepts: 'bits', attrs: none, scalar: e.or, gradient: null }),
  row({ name: 'xor', summary: 'exclusive or, bitwise for integers', accepts: 'bits', attrs: none, scalar: e.xor, gradient: null }),
  row({ name: 'equal', summary: 'x = y', accepts: 'any', out: 'bool', attrs: none, scalar: e.eq, gradient: null }),
  row({ name: 'less', summary: 'x < y', accepts: 'numeric', out: 'bool', attrs: none, scalar: (x, y, t) => lessThan(t, x, y), gradient: null }),
  row({
    name: 'less_equal', summary: 'x ≤ y', accepts: 'numeric', out: 'bool', attrs: none, scalar: (x, y, t) => lessOrEqual(t, x, y),
    gradient: null,
  }),
];
