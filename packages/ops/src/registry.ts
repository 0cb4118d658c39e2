/** The table of all core ops. */
import { fail } from '@bitloom/diagnostics';
import { GraphBuilder, type OpTable, type Phase } from '@bitloom/ir';
import { elementCount } from '@bitloom/tensor';
import { argOps } from './arg.js';
import { avgPool } from './avg-pool.js';
import { binaryOps } from './binary.js';
import { binarize } from './binarize.js';
import { cast } from './cast.js';
import { clip } from './clip.js';
import { concat } from './concat.js';
import { constant } from './const.js';
import { conv } from './conv.js';
import { convTranspose } from './conv-transpose.js';
import { cumsum } from './cumsum.js';
import type { OpDef } from './def.js';
import { expand } from './expand.js';
import { gather } from './gather.js';
import { gatherElements } from './gather-elements.js';
import { gatherNd } from './gather-nd.js';
import { identity } from './identity.js';
import { isinf } from './isinf.js';
import { levels } from './levels.js';
import { linear } from './linear.js';
import { lsq } from './lsq.js';
import { matmul } from './matmul.js';
import { maxPool } from './max-pool.js';
import { mixedLsq } from './mixed-lsq.js';
import { pact } from './pact.js';
import { pad } from './pad.js';
import { powerOfTwo } from './power-of-two.js';
import { reduceOps } from './reduce.js';
import { reshape } from './reshape.js';
import { resize } from './resize.js';
import { scatterElements } from './scatter-elements.js';
import { scatterNd } from './scatter-nd.js';
import { select } from './select.js';
import { slice } from './slice.js';
import { logSoftmax, softmax } from './softmax.js';
import { topk } from './topk.js';
import { transpose } from './transpose.js';
import { unaryOps } from './unary.js';

export const OPS: ReadonlyMap<string, OpDef> = new Map(
  [
    constant, identity, ...unaryOps, isinf, clip, cast, ...binaryOps, select,
    ...reduceOps, ...argOps, softmax, logSoftmax, cumsum, topk,
    reshape, transpose, expand, slice, concat, pad,
    gather, gatherElements, gatherNd, scatterElements, scatterNd,
    conv, convTranspose, linear, matmul, maxPool, avgPool, resize,
    lsq, mixedLsq, pact, levels, powerOfTwo, binarize,
  ].map((op) => [op.name, op]),
);

/** Definition of an op. @throws E402 for an unknown name. */
export function getOp(name: string, origin?: string): OpDef {
  return OPS.get(name) ?? fail('E402', `unknown operation ${name}`, { node: origin, found: name });
}

/** Checks attributes against the op's schema, then infers the output types (E206 where one is too large). */
export const opTable: OpTable = {
  infer(name, inputs, attrs, origin) {
    const op = getOp(name, origin);
    const parsed = op.attrs.safeParse(attrs);
    if (!parsed.success) {
      const [issue] = parsed.error.issues;
      fail('E402', `bad attributes of ${name}`, { node: origin, found: [issue.path.join('.'), issue.message].filter((s) => s !== '').join(': ') });
    }
    const types = op.infer(inputs, parsed.data, origin);
    for (const t of types) elementCount(t.shape, origin);
    return types;
  },
};

/** A graph builder over the core ops. */
export const createBuilder = (name: string, phase?: Phase): GraphBuilder => new GraphBuilder(name, opTable, phase);
