import type { ValueId } from '@bitloom/ir';
import { getAt } from '@bitloom/tensor';
import type { OnnxImporter } from '../node.js';
import { MAX_STEPS, stacked } from './unroll.js';

/** Inputs: trip count, condition, carried values. The body also gives a condition, and outputs to collect. */
export const Loop: OnnxImporter = (n) => {
  const body = n.attrs.graph('body') ?? n.unsupported('body is missing');
  const trips = n.number(0, 'the trip count', Infinity);
  let running = n.number(1, 'the condition', 1) !== 0;
  let state = Array.from({ length: n.inputCount - 2 }, (_, i) => n.x(i + 2));
  const collected: ValueId[][] = Array.from({ length: n.outputs.length - state.length }, () => []);
  for (let i = 0; running && i < trips; i++) {
    if (i >= MAX_STEPS) n.unsupported(`more than ${MAX_STEPS} steps`);
    const [condition, ...results] = n.around.inline(body, `step${i}`, [n.const('i64', [], [i]), n.const('bool', [], [true]), ...state]);
    const known = n.b.constantOf(condition) ?? n.unsupported('the condition is computed from run-time values');
    running = getAt(known, 0) !== 0;
    const carried = state.length;
    state = results.slice(0, carried);
    results.slice(carried).forEach((id, k) => collected[k]?.push(id));
  }
  return [...state, ...collected.map((parts) => stacked(n, parts, 0))];
};
