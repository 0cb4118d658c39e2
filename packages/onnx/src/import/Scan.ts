import type { ValueId } from '@bitloom/ir';
import { compose } from '@bitloom/ops';
import type { OnnxImporter } from '../node.js';
import { MAX_STEPS, stacked } from './unroll.js';

/** Inputs: state, then sequences of which each step sees one element; outputs: state, then collected sequences. */
export const Scan: OnnxImporter = (n) => {
  if (n.opset < 9) n.unsupported('the batched form of opset 8');
  const body = n.attrs.graph('body') ?? n.unsupported('body is missing');
  const sequences = n.attrs.int('num_scan_inputs', 1);
  const carried = n.inputCount - sequences;
  const inputAxes = Array.from({ length: sequences }, (_, i) => n.axis((n.attrs.ints('scan_input_axes', null) ?? [])[i] ?? 0, n.rank(carried + i)));
  const backward = n.attrs.ints('scan_input_directions', null) ?? [];
  const steps = n.shape(carried)[inputAxes[0]];
  if (steps > MAX_STEPS) n.unsupported(`${steps} steps, more than ${MAX_STEPS}`);
  let state = Array.from({ length: carried }, (_, i) => n.x(i));
  const collected: ValueId[][] = Array.from({ length: n.outputs.length - carried }, () => []);
  for (let s = 0; s < steps; s++) {
    const elements = inputAxes.map((axis, i) => {
      const at = backward[i] === 1 ? steps - 1 - s : s;
      const shape = n.shape(carried + i);
      return n.reshape(compose.sliceAxis(n.b, n.x(carried + i), axis, at, 1), shape.filter((_, a) => a !== axis));
    });
    const results = n.around.inline(body, `step${s}`, [...state, ...elements]);
    state = results.slice(0, carried);
    results.slice(carried).forEach((id, k) => collected[k]?.push(id));
  }
  const outputAxes = n.attrs.ints('scan_output_axes', null) ?? [];
  const reversed = n.attrs.ints('scan_output_directions', null) ?? [];
  return [...state, ...collected.map((parts, k) => stacked(n, reversed[k] === 1 ? parts.toReversed() : parts, outputAxes[k] ?? 0))];
};
