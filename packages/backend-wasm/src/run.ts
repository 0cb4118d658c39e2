/** Runs emitted modules in this process, for tests and verification. */
import { fail } from '@bitloom/diagnostics';
import type { Plan, PlannedPort } from '@bitloom/codegen';
import type { TensorMap } from '@bitloom/kernel-spec';
import { type Tensor, bytesOf, DTYPES, sameShape, tensor } from '@bitloom/tensor';
import { type EmittedWasm, addressOf } from './emit.js';

/** Gets a copy of each call's results. */
export type OnStep = (call: number, results: readonly Uint8Array[]) => void;

export interface WasmInstance {
  /** Copies inputs in, runs all calls, copies outputs out. @throws E302 when an input is missing or of another type or shape */
  run(inputs: TensorMap): Map<string, Tensor>;
  /** The same call by call. */
  runSteps(inputs: TensorMap, onStep: OnStep): Map<string, Tensor>;
  /** The same together with the other threads, all of which have called `worker`. */
  runThreads(inputs: TensorMap): Map<string, Tensor>;
}

interface Exports {
  readonly memory: WebAssembly.Memory;
  prepare(): void;
  run(): void;
  step(i: number): void;
  start(maySleep: 0 | 1): void;
}

/** The memory that a module for several threads imports. */
export const sharedMemory = ({ pages }: EmittedWasm['layout']): WebAssembly.Memory => new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true });

/**
 * Instantiates a module, copies the plan's weights into it and lets it prepare them. Instances may be run again and again. One for
 * several threads runs alone, in `memory`, if given.
 */
export async function instantiateWasm(emitted: Pick<EmittedWasm, 'wasm' | 'layout'>, plan: Plan, memory?: WebAssembly.Memory): Promise<WasmInstance> {
  const env: WebAssembly.Imports = plan.threads > 1 ? { env: { memory: memory ?? sharedMemory(emitted.layout) } } : {};
  const { instance } = await WebAssembly.instantiate(emitted.wasm as BufferSource, env);
  const exports = instance.exports as unknown as Exports;
  const bytes = new Uint8Array(exports.memory.buffer);
  bytes.set(plan.weights, emitted.layout.weightsBase);
  exports.prepare();
  const bufferOf = (p: PlannedPort): { dtype: Tensor['dtype']; shape: readonly number[] } => plan.program.buffers[p.buffer];

  const setInputs = (inputs: TensorMap): void => {
    for (const p of plan.inputs) {
      const { dtype, shape } = bufferOf(p);
      const t = inputs.get(p.name);
      const expected = `${dtype} [${shape.join(', ')}]`;
      if (!t) fail('E302', 'an input is missing', { node: p.name, expected });
      if (t.dtype !== dtype || !sameShape(t.shape, shape)) {
        fail('E302', 'an input has another type or shape', { node: p.name, found: `${t.dtype} [${t.shape.join(', ')}]`, expected });
      }
      bytes.set(bytesOf(t), addressOf(emitted.layout, p.location));
    }
  };
  const outputs = (): Map<string, Tensor> =>
    new Map(
      plan.outputs.map((p) => {
        const { dtype, shape } = bufferOf(p);
        const at = addressOf(emitted.layout, p.location);
        return [p.name, tensor(dtype, shape, new DTYPES[dtype].array(bytes.slice(at, at + p.location.bytes).buffer))];
      }),
    );
  return {
    run(inputs) {
      setInputs(inputs);
      exports.run();
      return outputs();
    },
    runThreads(inputs) {
      setInputs(inputs);
      exports.start(1);
      return outputs();
    },
    runSteps(inputs, onStep) {
      setInputs(inputs);
      plan.calls.forEach((c, i) => {
        exports.step(i);
        onStep(
          i,
          c.results.map((r) => bytes.slice(addressOf(emitted.layout, r), addressOf(emitted.layout, r) + r.bytes)),
        );
      });
      return outputs();
    },
  };
}

/** One run of a fresh instance. */
export async function runWasm(emitted: EmittedWasm, plan: Plan, inputs: TensorMap, onStep?: OnStep): Promise<Map<string, Tensor>> {
  const instance = await instantiateWasm(emitted, plan);
  return onStep ? instance.runSteps(inputs, onStep) : instance.run(inputs);
}
