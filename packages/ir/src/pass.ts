/** Passes: named steps from graph to graph, with a verified graph between any two. */
import { fail } from '@bitloom/diagnostics';
import type { OpTable } from './builder.js';
import { type Graph, PHASES, type Phase } from './graph.js';
import { verifyGraph } from './verify.js';

/** Takes graphs of phase `from` and returns graphs of phase `to`, never an earlier one. */
export interface Pass {
  readonly name: string;
  readonly from: Phase;
  readonly to: Phase;
  run(g: Graph): Graph | Promise<Graph>;
}

export interface PassHooks {
  /** Gets the graph that a pass made, once it is verified. */
  readonly afterPass?: (pass: string, g: Graph) => void;
  /** The last phase wanted: passes that would leave it are not run. */
  readonly stopAfter?: Phase;
}

/**
 * Runs passes in order and verifies the graph before the first and after each.
 * @throws E402 for a graph that a pass broke, or whose phase is not the one that the pass takes or promises
 */
export async function runPasses(g: Graph, passes: readonly Pass[], ops: OpTable, { afterPass, stopAfter }: PassHooks = {}): Promise<Graph> {
  verifyGraph(g, ops);
  for (const pass of passes) {
    if (stopAfter !== undefined && PHASES.indexOf(pass.to) > PHASES.indexOf(stopAfter)) break;
    if (g.phase !== pass.from) fail('E402', `pass ${pass.name} takes graphs of another phase`, { node: g.name, found: g.phase, expected: pass.from });
    g = await pass.run(g);
    if (g.phase !== pass.to) fail('E402', `pass ${pass.name} returned a graph of another phase`, { node: g.name, found: g.phase, expected: pass.to });
    verifyGraph(g, ops, { pass: pass.name });
    afterPass?.(pass.name, g);
  }
  return g;
}
