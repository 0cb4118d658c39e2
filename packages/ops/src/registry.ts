/** The table of all core ops. */
import { fail } from '@bitloom/diagnostics';
import { GraphBuilder, type OpTable, type Phase } from '@bitloom/ir';
import { binaryOps } from './binary.js';
import { constant } from './const.js';
import type { OpDef } from './def.js';
import { reshape } from './reshape.js';
import { unaryOps } from './unary.js';

export const OPS: ReadonlyMap<string, OpDef> = new Map(
  [constant, ...unaryOps, ...binaryOps, reshape].map((op) => [op.name, op]),
);

/** Definition of an op. @throws E402 for an unknown name. */
export function getOp(name: string, origin?: string): OpDef {
  return OPS.get(name) ?? fail('E402', `unknown operation ${name}`, { node: origin, found: name });
}

/** Checks attributes against the op's schema, then infers the output types. */
export const opTable: OpTable = {
  infer(name, inputs, attrs, origin) {
    const op = getOp(name, origin);
    const parsed = op.attrs.safeParse(attrs);
    if (!parsed.success) {
      const [issue] = parsed.error.issues;
      fail('E402', `bad attributes of ${name}`, { node: origin, found: [issue.path.join('.'), issue.message].filter((s) => s !== '').join(': ') });
    }
    return op.infer(inputs, parsed.data, origin);
  },
};

/** A graph builder over the core ops. */
export const createBuilder = (name: string, phase?: Phase): GraphBuilder => new GraphBuilder(name, opTable, phase);
