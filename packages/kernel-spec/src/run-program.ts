/** The reference interpreter of lowered programs. */
import { fail } from '@bitloom/diagnostics';
import { DTYPES, type Tensor, type TypedArray, sameShape } from '@bitloom/tensor';
import { checkProgram } from './check-program.js';
import { convReference } from './conv.js';
import type { KernelCall, Program, TensorMap } from './program.js';
import { runNest } from './run-nest.js';

/** What a run reports after each call; `results` are valid only during the callback. */
export type OnCall = (index: number, call: KernelCall, results: readonly TypedArray[]) => void;

const checked = new WeakSet<Program>();

/**
 * Runs a program on the references of its kernel families: the truth that every backend equals bit for bit.
 * @param inputs by port name; others are ignored
 * @returns outputs by port name
 * @throws E302 when an input is missing or not of the declared type and shape, E901 when the program is malformed
 */
export function runProgram(program: Program, inputs: TensorMap, onCall?: OnCall): Map<string, Tensor> {
  if (!checked.has(program)) {
    checkProgram(program);
    checked.add(program);
  }
  const { buffers, calls } = program;
  const memory: (TypedArray | null)[] = buffers.map((b) => b.data);
  for (const port of program.inputs) {
    const { dtype, shape } = buffers[port.buffer];
    const t = inputs.get(port.name);
    const expected = `${dtype} [${shape.join(', ')}]`;
    if (!t) fail('E302', `input ${port.name} is missing`, { node: port.name, expected });
    if (t.dtype !== dtype || !sameShape(t.shape, shape)) {
      fail('E302', `input ${port.name} does not match the model`, { node: port.name, found: `${t.dtype} [${t.shape.join(', ')}]`, expected });
    }
    memory[port.buffer] = t.data;
  }

  // Buffers live from their first to their last use, so that deep networks fit in memory.
  const last = new Map<number, number>();
  calls.forEach((c, i) => [...c.args, ...c.results].forEach((b) => last.set(b, i)));
  const kept = new Set(program.outputs.map((p) => p.buffer));
  calls.forEach((c, i) => {
    const results = c.results.map((b) => (memory[b] ??= new DTYPES[buffers[b].dtype].array(buffers[b].elements)));
    const args = c.args.map((b) => memory[b]!);
    if (c.family === 'conv') convReference(c.params, args, results[0]);
    else runNest(c.params, [...args, ...results]);
    onCall?.(i, c, results);
    for (const b of [...c.args, ...c.results]) if (last.get(b) === i && !kept.has(b)) memory[b] = null;
  });

  return new Map(program.outputs.map((port) => {
    const { dtype, shape } = buffers[port.buffer];
    return [port.name, { dtype, shape: [...shape], data: memory[port.buffer]!.slice() }];
  }));
}
