/** Times WebAssembly modules of bundles. Spec: module, weights (files), weightsBase, steps, inputs [{address, file}], outputs [{address, bytes}]. */
import { readFile } from 'node:fs/promises';
import { measure, serve } from './serve.mjs';

await serve(async (spec) => {
  const { instance } = await WebAssembly.instantiate(await readFile(spec.module), {});
  const { memory, run, step, prepare } = instance.exports;
  const bytes = new Uint8Array(memory.buffer);
  bytes.set(await readFile(spec.weights), spec.weightsBase);
  prepare?.();
  const inputs = await Promise.all(spec.inputs.map(async (p) => [await readFile(p.file), p.address]));
  const outputs = spec.outputs.map((p) => [new Uint8Array(p.bytes), bytes.subarray(p.address, p.address + p.bytes)]);
  const copyIn = () => inputs.forEach(([data, at]) => bytes.set(data, at));
  return {
    run() {
      copyIn();
      run();
      for (const [to, from] of outputs) to.set(from);
    },
    /** Shortest and median time of each call in ns. */
    async profile(n) {
      const times = Array.from({ length: spec.steps }, () => []);
      for (let i = 0; i < n; i++) {
        copyIn();
        for (let s = 0; s < spec.steps; s++) times[s].push((await measure(1, () => step(s))).total);
      }
      return times.map((t) => t.sort((a, b) => a - b)).map((t) => ({ min: t[0], median: (t[(n - 1) >> 1] + t[n >> 1]) / 2 }));
    },
  };
});
