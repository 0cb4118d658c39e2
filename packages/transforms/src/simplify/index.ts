/** Simplification: float rules to a fixpoint, common subexpressions, dead code. */
import { type Graph, type Pass, type Rule, deadCode, rewrite } from '@bitloom/ir';
import { opTable } from '@bitloom/ops';
import { affineRules } from './affine.js';
import { arithmeticRules } from './arithmetic.js';
import { clampRules } from './clamps.js';
import { eliminateCommonSubexpressions } from './common-subexpressions.js';
import { constantRules } from './constants.js';
import { fuseActivation } from './fuse-activation.js';
import { identityRules } from './identities.js';
import { movementRules } from './movement.js';
import { padRules } from './pads.js';
import { splitStreams } from './split-streams.js';

/** The rules of {@link simplify}, in the order in which they are tried at a node. */
export const SIMPLIFY_RULES: readonly Rule[] = [
  ...constantRules, ...identityRules, ...movementRules, ...clampRules, ...padRules, ...arithmeticRules, ...affineRules,
];

/** An equal float graph with fewer and cheaper nodes. Results agree up to f32 rounding of folded weights and the sign of zeros. */
export function simplify(g: Graph): Graph {
  // First, because readers that nothing needs would keep values from being folded.
  g = deadCode(g);
  for (let before: Graph | null = null; before !== g; ) {
    before = rewrite(g, SIMPLIFY_RULES, opTable).graph;
    g = eliminateCommonSubexpressions(before);
  }
  return g;
}

/** All float transformations, in the order in which they run. */
export const FLOAT_PASSES: readonly Pass[] = [
  { name: 'simplify', from: 'float', to: 'float', run: simplify },
  { name: 'fuse-activation', from: 'float', to: 'float', run: fuseActivation },
  { name: 'streams', from: 'float', to: 'float', run: splitStreams },
];
