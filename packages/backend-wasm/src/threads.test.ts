import { Worker } from 'node:worker_threads';
import { type KernelName, makePlan } from '@bitloom/codegen';
import type { ConvParams } from '@bitloom/kernel-spec';
import { Rng, type Tensor, bytesOf } from '@bitloom/tensor';
import { describe, expect, it } from 'vitest';
import { type ConvCase, type Geometry, convProgram, floatCase, integerCase, withOutput } from './conv.test.fixtures.js';
import { emitWasm, instantiateWasm, sharedMemory, variantsFor } from './index.js';

const PLAIN = { batch: 1, groups: 1, strideH: 1, strideW: 1, padT: 1, padL: 1, dilH: 1, dilW: 1, kH: 3, kW: 3 } as const;
const GEOMETRIES: readonly Geometry[] = [
  { ...PLAIN, inH: 19, inW: 17, inC: 32, outC: 33 },
  { ...PLAIN, inH: 19, inW: 17, inC: 3, outC: 90, strideH: 2, strideW: 2 },
  { ...PLAIN, inH: 15, inW: 15, inC: 48, outC: 48, kH: 1, kW: 1, padT: 0, padL: 0 },
  { ...PLAIN, inH: 31, inW: 31, inC: 48, outC: 48, kH: 1, kW: 1, padT: 0, padL: 0, strideH: 2, strideW: 2 },
  { ...PLAIN, inH: 41, inW: 20, inC: 40, outC: 40, groups: 40, strideH: 2 },
  { ...PLAIN, inH: 20, inW: 20, inC: 64, outC: 64, groups: 2, dilH: 2 },
  { ...PLAIN, batch: 5, inH: 1, inW: 1, inC: 400, outC: 300, kH: 1, kW: 1, padT: 0, padL: 0 },
];

/** Threads 1, 2 … of a module; resolves once they run. */
async function startWorkers(wasm: Uint8Array, memory: WebAssembly.Memory, threads: number): Promise<Worker[]> {
  const code = `
    const { workerData: { wasm, memory, t }, parentPort } = require('node:worker_threads');
    const instance = new WebAssembly.Instance(new WebAssembly.Module(wasm), { env: { memory } });
    parentPort.postMessage('ready');
    instance.exports.worker(t);`;
  return Promise.all(Array.from({ length: threads - 1 }, (_, i) => new Promise<Worker>((resolve, reject) => {
    const w = new Worker(code, { eval: true, workerData: { wasm, memory, t: i + 1 } });
    w.once('message', () => resolve(w));
    w.once('error', reject);
  })));
}

const same = (name: string, got: ReadonlyMap<string, Tensor>, expected: ReturnType<typeof convProgram>['expected']): void =>
  expected.forEach((y, i) => expect(Buffer.from(bytesOf(got.get(`y${i}`)!)).equals(new Uint8Array(y.buffer)), `${name} y${i}`).toBe(true));

describe('threads', () => {
  it.each<[string, KernelName[], number, string?]>([
    ['int8', ['int8', 'depthwise'], 2], ['lut', ['lut', 'depthwise'], 3], ['bitserial', ['bitserial', 'depthwise'], 3], ['dual', ['dual', 'depthwise'], 2], ['f32', ['f32'], 3],
    ...['winograd', 'winograd4', 'winograd4_bytes', 'winograd5'].map((k): [string, KernelName[], number, string] => [k, ['winograd', 'int8', 'depthwise'], 3, `${k}__simd128`]),
    ['transposed_lut', ['lut', 'int8', 'depthwise'], 3, 'transposed_lut__simd128'],
  ])('%s: parts compute what the whole does, by one thread and by several', async (kind, kernels, threads, form) => {
    const rng = new Rng(threads);
    const cases = GEOMETRIES.map((g): ConvCase => {
      const full = withOutput(g, 1);
      return kind === 'f32' ? floatCase(rng, full) : integerCase(rng, full, kind === 'transposed_lut' ? 4 : 2, 2);
    });
    const { program, inputs, expected } = convProgram(cases);
    const variants = variantsFor('wasm').filter((v) => !form || v.kernel !== kernels[0] || v.name === form);
    const preferred = (p: ConvParams): KernelName => kernels.find((k) => variants.some((v) => v.kernel === k && v.accepts(p)))!;
    const plan = makePlan(program, { target: 'wasm', variants, threads, filter: (v, p) => v.kernel === preferred(p) });
    expect(plan.calls.some((c) => c.variant!.kernel === kernels[0])).toBe(true);
    expect(plan.calls.filter((c) => c.parts.length === threads).length).toBeGreaterThanOrEqual(5);
    const emitted = await emitWasm(plan);
    const memory = sharedMemory(emitted.layout);
    const main = await instantiateWasm(emitted, plan, memory);
    same('alone', main.run(inputs), expected);
    same('steps', main.runSteps(inputs, () => {}), expected);
    const workers = await startWorkers(emitted.wasm, memory, threads);
    try {
      for (let i = 0; i < 8; i++) {
        // Old results must not pass for new ones.
        new Uint8Array(memory.buffer).fill(0xa5, emitted.layout.arenaBase);
        same('together', main.runThreads(inputs), expected);
      }
    } finally {
      await Promise.all(workers.map((w) => w.terminate()));
    }
  });
});
