/** Elementwise functions of two tensors with numpy broadcasting: each is a row of its scalar expression and its derivatives. */
import type { GraphBuilder, ValueId } from '@bitloom/ir';
import { e, type Expr } from '@bitloom/kernel-spec';
import type { DType } from '@bitloom/tensor';
import { none } from './attrs.js';
import { sumToShape } from './compose.js';
import { byScalar, defineOp, type OpDef } from './def.js';
import { wrapTo } from './integer.js';
import { type DTypeClass, broadcastAll, expectClass, expectCount, expectSameDType } from './shapes.js';

interface Row {
  readonly name: string;
  readonly summary: string;
  readonly accepts: DTypeClass;
  readonly out?: DType;
  readonly scalar: (x: Expr, y: Expr, t: DType) => Expr;
  /** Cotangents of both operands, still of the output's shape. */
  readonly gradient: null | ((b: GraphBuilder, dz: ValueId, x: ValueId, y: ValueId, z: ValueId) => [ValueId, ValueId]);
}

const rows: readonly Row[] = [
  {
    name: 'add', summary: 'x + y; integers wrap', accepts: 'numeric',
    scalar: (x, y, t) => wrapTo(t, e.add(x, y)),
    gradient: (_b, dz) => [dz, dz],
  },
];

export const binaryOps: readonly OpDef[] = rows.map((r) =>
  defineOp({
    name: r.name,
    summary: r.summary,
    attrs: none,
    infer(ins, _attrs, origin) {
      expectCount(ins, r.name, origin, 2);
      expectSameDType(ins, r.name, origin);
      expectClass(ins[0], r.accepts, r.name, origin);
      return [{ dtype: r.out ?? ins[0].dtype, shape: broadcastAll(ins, r.name, origin) }];
    },
    gradient: r.gradient && ((b, { inputs: [x, y], outputs: [z], cotangents: [dz] }) =>
      r.gradient!(b, dz!, x, y, z).map((d, i) => sumToShape(b, d, b.shapeOf([x, y][i])))),
    ...byScalar(([x, y], _attrs, _out, [t]) => r.scalar(x, y, t)),
  }),
);
