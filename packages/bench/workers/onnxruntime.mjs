/** Times onnxruntime, one thread. Arguments: `web` or `node`, and where the package lies. Spec: model (file), inputs [{name, type, dims, file}]. */
import { readFile } from 'node:fs/promises';
import { serve } from './serve.mjs';

const [kind, entry] = process.argv.slice(2);
const module = await import(entry);
const ort = module.InferenceSession ? module : module.default;
if (kind === 'web') Object.assign(ort.env.wasm, { numThreads: 1, proxy: false });
const options = {
  executionProviders: [kind === 'web' ? 'wasm' : 'cpu'], graphOptimizationLevel: 'all',
  intraOpNumThreads: 1, interOpNumThreads: 1, executionMode: 'sequential', logSeverityLevel: 3,
};
const ARRAYS = {
  float32: Float32Array, float64: Float64Array, int8: Int8Array, uint8: Uint8Array, int16: Int16Array, uint16: Uint16Array, int32: Int32Array, uint32: Uint32Array,
  int64: BigInt64Array, uint64: BigUint64Array, bool: Uint8Array,
};

await serve(async (spec) => {
  const session = await ort.InferenceSession.create(new Uint8Array(await readFile(spec.model)), options);
  const feeds = {};
  for (const { name, type, dims, file } of spec.inputs) feeds[name] = new ort.Tensor(type, new ARRAYS[type](new Uint8Array(await readFile(file)).buffer), dims);
  return { run: () => session.run(feeds) };
});
