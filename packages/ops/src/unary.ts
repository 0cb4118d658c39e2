/** Elementwise functions of one tensor: each is a row of its scalar expression and its derivative. */
import type { GraphBuilder, ValueId } from '@bitloom/ir';
import { e, type Expr } from '@bitloom/kernel-spec';
import type { DType } from '@bitloom/tensor';
import { none } from './attrs.js';
import { greater, masked, scalarLike } from './compose.js';
import { byScalar, defineOp, type OpDef } from './def.js';
import { constantOf } from './integer.js';
import { type DTypeClass, expectClass, expectCount } from './shapes.js';

interface Row {
  readonly name: string;
  readonly summary: string;
  readonly accepts: DTypeClass;
  readonly out?: DType;
  readonly scalar: (x: Expr, t: DType) => Expr;
  /** Cotangent of x from that of y. */
  readonly gradient: null | ((b: GraphBuilder, dy: ValueId, x: ValueId, y: ValueId) => ValueId);
}

const rows: readonly Row[] = [
  {
    name: 'relu', summary: 'max(x, 0); its derivative at 0 is taken as 0', accepts: 'signed',
    scalar: (x, t) => e.max(x, constantOf(t, 0)),
    gradient: (b, dy, x) => masked(b, greater(b, x, scalarLike(b, x, 0)), dy),
  },
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
