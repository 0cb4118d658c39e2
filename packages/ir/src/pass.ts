/** Passes and the manager that runs them. */
import { fail } from '@bitloom/diagnostics';
import type { z } from 'zod';
import type { OpTable } from './builder.js';
import { type Graph, PHASES, type Phase } from './graph.js';
import { type PrintedGraph, printGraph } from './print.js';
import { verifyGraph } from './verify.js';

export interface PassContext {
  /** Long passes check it from time to time. */
  readonly signal: AbortSignal;
}

/** A named step of the pipeline. It takes graphs of phase `from` and returns graphs of phase `to`, never an earlier one. */
export interface Pass<O = unknown> {
  readonly name: string;
  readonly summary: string;
  readonly from: Phase;
  readonly to: Phase;
  readonly options: z.ZodType<O>;
  // A method, hence bivariant: lists of passes hold Pass<unknown>, and runPasses checks options by the schema.
  run(g: Graph, options: O, context: PassContext): Graph | Promise<Graph>;
}

export const definePass = <O>(pass: Pass<O>): Pass => pass as Pass;

/** A pass of a pipeline with its options (checked by its schema; `{}` if left out). */
export interface PassStep {
  readonly pass: Pass;
  readonly options?: unknown;
}

export interface PassHooks {
  /** Passes after which {@link onPrint} gets the graph. */
  readonly printAfter?: 'all' | ReadonlySet<string>;
  readonly onPrint?: (pass: string, printed: PrintedGraph) => void;
  /** The last phase wanted: passes that would leave it are not run. */
  readonly stopAfter?: Phase;
  /** Milliseconds of any monotonic clock; without one all timings are 0. */
  readonly clock?: () => number;
  readonly signal?: AbortSignal;
  /** Called before each pass. */
  readonly onStart?: (pass: Pass, index: number, count: number) => void;
}

export interface PassTiming {
  readonly pass: string;
  readonly milliseconds: number;
}

export interface PassResult {
  readonly graph: Graph;
  readonly timings: readonly PassTiming[];
  /** True when `stopAfter` left passes out. */
  readonly stopped: boolean;
}

/** A pass by name. @throws E101 for an unknown one, listing all */
export function findPass(passes: readonly Pass[], name: string): Pass {
  return passes.find((p) => p.name === name) ?? fail('E101', `unknown pass ${name}`, { found: name, expected: passes.map((p) => p.name).join(', ') });
}

/**
 * Runs passes in order and verifies the graph before the first and after each.
 * @throws E101 where `printAfter` names none of them, E102 for bad options, E402 for a graph that a pass broke or whose phase is not
 * the one the pass takes, the signal's reason when aborted
 */
export async function runPasses(g: Graph, steps: readonly PassStep[], ops: OpTable, hooks: PassHooks = {}): Promise<PassResult> {
  const { printAfter = new Set<string>(), onPrint, stopAfter, clock = () => 0, signal = new AbortController().signal, onStart } = hooks;
  if (printAfter !== 'all') for (const name of printAfter) findPass(steps.map((s) => s.pass), name);
  const checked = steps.map(({ pass, options = {} }) => {
    const parsed = pass.options.safeParse(options);
    if (parsed.success) return { pass, options: parsed.data };
    const [issue] = parsed.error.issues;
    return fail('E102', `bad options of pass ${pass.name}`, { found: [issue.path.join('.'), issue.message].filter((s) => s !== '').join(': ') });
  });

  verifyGraph(g, ops);
  const timings: PassTiming[] = [];
  for (const [index, { pass, options }] of checked.entries()) {
    if (stopAfter !== undefined && PHASES.indexOf(pass.to) > PHASES.indexOf(stopAfter)) return { graph: g, timings, stopped: true };
    if (g.phase !== pass.from) fail('E402', `pass ${pass.name} takes graphs of another phase`, { node: g.name, found: g.phase, expected: pass.from });
    signal.throwIfAborted();
    onStart?.(pass, index, checked.length);
    const start = clock();
    g = await pass.run(g, options, { signal });
    timings.push({ pass: pass.name, milliseconds: clock() - start });
    if (g.phase !== pass.to) fail('E402', `pass ${pass.name} returned a graph of another phase`, { node: g.name, found: g.phase, expected: pass.to });
    verifyGraph(g, ops, { pass: pass.name });
    if (printAfter === 'all' || printAfter.has(pass.name)) onPrint?.(pass.name, printGraph(g));
  }
  return { graph: g, timings, stopped: false };
}
