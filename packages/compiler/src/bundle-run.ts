/** Runs what a bundle holds: its WebAssembly module, its C code, and the reference program. */
import { type CBinary, type CRun, NO_C_COMPILER, compileC, planC, runC } from '@bitloom/backend-c';
import { type Manifest, type OpenBundle, supports } from '@bitloom/bundle';
import { PACKINGS } from '@bitloom/codegen';
import { fail } from '@bitloom/diagnostics';
import { type Program, type TensorMap, programFromJson } from '@bitloom/kernel-spec';
import { DTYPES, MAX_ELEMENTS, type Tensor, type TypedArray, bytesOf, elementCount, readNpz, reshape, sameShape, tensor } from '@bitloom/tensor';
import type { PortReport } from './report.js';

type WasmModule = NonNullable<Manifest['targets']['wasm']>['modules'][number];

/** Why a module is not run. */
export const NO_RELAXED = 'this engine has no relaxed SIMD, or computes it wrong';

const asArray = (dtype: Tensor['dtype'], bytes: Uint8Array): TypedArray => new DTYPES[dtype].array(bytes.slice().buffer);

/** The program, its constants unpacked from the shipped weights. @throws E701 */
export async function referenceProgram(b: OpenBundle): Promise<Program> {
  const r = b.manifest.reference;
  const [text, raw, weights] = await Promise.all([b.read(r.program), b.read(r.constants), b.read(r.weights)]);
  let json: { buffers?: { dtype: Tensor['dtype'] }[] };
  try {
    json = JSON.parse(new TextDecoder().decode(text));
  } catch (cause) {
    fail('E701', 'the reference program is not JSON', { node: r.program }, cause);
  }
  const table = new Map(r.table.map((k) => [k.buffer, k]));
  const program = programFromJson(json, (buffer) => {
    const k = table.get(buffer) ?? fail('E701', 'a constant of the program has no place in the bundle', { node: `buffer ${buffer}` });
    const [blob, offset] = k.packing === 'raw' ? [raw, k.offset - weights.length] : [weights, k.offset];
    if (offset < 0 || offset + k.bytes > blob.length) fail('E701', 'a constant lies outside its file', { node: `buffer ${buffer}` });
    const bytes = blob.subarray(offset, offset + k.bytes);
    if (k.packing !== 'raw') {
      if (k.rows * k.k > MAX_ELEMENTS || PACKINGS[k.packing].bytes(k) !== k.bytes) fail('E701', 'a packed constant is malformed', { node: `buffer ${buffer}` });
      return PACKINGS[k.packing].unpack(bytes, k);
    }
    const dtype = json.buffers?.[buffer]?.dtype;
    if (!dtype || !(dtype in DTYPES) || k.bytes % DTYPES[dtype].bytes !== 0) fail('E701', 'a constant does not fit its type', { node: `buffer ${buffer}` });
    return asArray(dtype, bytes);
  });
  const { inputs, outputs, targets } = b.manifest;
  const shown = (ports: readonly PortReport[]): string => ports.map((p) => `${p.name}: ${p.dtype} [${p.shape.join(', ')}]`).join(', ');
  for (const [ports, expected] of [[program.inputs, inputs], [program.outputs, outputs]] as const) {
    const found = shown(ports.map((p) => ({ ...program.buffers[p.buffer], name: p.name })));
    if (found !== shown(expected)) {
      fail('E701', 'the program has other inputs or outputs than the manifest', { node: r.program, found, expected: shown(expected) });
    }
  }
  for (const { results } of targets.wasm?.modules ?? []) {
    if (results.length === program.calls.length && results.every((a, i) => a.length === program.calls[i].results.length)) continue;
    fail('E701', 'the manifest gives addresses of another program', {
      node: r.program, found: `${results.length} calls`, expected: `${program.calls.length} calls`,
    });
  }
  return program;
}

/** A batch of data as the bundle's inputs: for whole-input samples the leading 1 goes, see `sampleSpecs`. */
export const asPorts = (b: OpenBundle, inputs: TensorMap): Map<string, Tensor> =>
  new Map(b.manifest.inputs.map((p) => [p.name, reshape(inputs.get(p.name)!, p.shape)]));

export interface WasmRunner {
  /** Runs one sample; `onStep` sees each call's result bytes. */
  run(inputs: TensorMap, onStep?: (call: number, results: readonly Uint8Array[]) => void): TensorMap;
}

/** What reports call a module. */
export const wasmLabel = (m: WasmModule): string =>
  `${m.features.includes('relaxed-simd') ? 'wasm-relaxed' : 'wasm'}${m.threads === undefined ? '' : `, ${m.threads} threads`}`;

/** Instantiates a module of a bundle, by default the fastest that runs here. @throws E603 when none does, E701 when it does not fit the manifest */
export async function wasmRunner(b: OpenBundle, program: Program | null = null, module: WasmModule | null = null): Promise<WasmRunner> {
  const wasm = b.manifest.targets.wasm ?? fail('E701', 'the bundle holds no WebAssembly', { remedy: 'compile with --target wasm' });
  const t = module ?? wasm.modules.find((m) => supports(m.features)) ?? fail('E603', NO_RELAXED, { remedy: 'compile with --target wasm' });
  const [code, weights] = await Promise.all([b.read(t.module), b.read(wasm.weights)]);
  let exports: { memory: WebAssembly.Memory; prepare(): void; run(): void; step(i: number): void };
  try {
    // A module for several threads computes all parts on its own.
    const shared: WebAssembly.Imports = t.pages === undefined ? {} : { env: { memory: new WebAssembly.Memory({ initial: t.pages, maximum: t.pages, shared: true }) } };
    exports = (await WebAssembly.instantiate(code as Uint8Array<ArrayBuffer>, shared)).instance.exports as never;
    const { memory, ...functions } = exports;
    const all = [functions.prepare, functions.run, functions.step].every((f) => f instanceof Function);
    if (!(memory instanceof WebAssembly.Memory && all)) throw new Error('no memory, prepare, run or step');
  } catch (cause) {
    fail('E701', 'the WebAssembly module does not load', { node: t.module, found: (cause as Error).message }, cause);
  }
  const trapped = (call: () => void): void => {
    try {
      call();
    } catch (cause) {
      fail('E701', 'the WebAssembly module traps', { node: t.module, found: (cause as Error).message }, cause);
    }
  };
  const memory = new Uint8Array(exports.memory.buffer);
  const inside = (address: number, bytes: number): Uint8Array => {
    if (address + bytes > memory.length) fail('E701', 'the manifest names addresses outside the module\'s memory', { node: t.module });
    return memory.subarray(address, address + bytes);
  };
  inside(t.weightsBase, weights.length).set(weights);
  trapped(() => exports.prepare());
  const size = (p: Omit<PortReport, 'name'>): number => p.shape.reduce((a, d) => a * d, 1) * DTYPES[p.dtype].bytes;
  return {
    run(inputs, onStep) {
      b.manifest.inputs.forEach((p, i) => inside(t.inputs[i], size(p)).set(bytesOf(inputs.get(p.name)!)));
      if (onStep && program) {
        program.calls.forEach((c, i) => {
          trapped(() => exports.step(i));
          onStep(i, c.results.map((r, k) => inside(t.results[i][k], program.buffers[r].elements * DTYPES[program.buffers[r].dtype].bytes).slice()));
        });
      } else trapped(() => exports.run());
      return new Map(b.manifest.outputs.map((p, i) => [p.name, tensor(p.dtype, p.shape, asArray(p.dtype, inside(t.outputs[i], size(p))))]));
    },
  };
}

/** Samples handed to the C program at once. */
export const C_BATCH = 128;

export interface CRunner {
  run(samples: readonly TensorMap[], steps?: boolean): Promise<CRun[]>;
  dispose(): Promise<void>;
}

/** Compiles the bundle's C with the machine's compiler; a string (the reason) where there is none. */
export async function cRunner(b: OpenBundle, program: Program): Promise<CRunner | string> {
  const t = b.manifest.targets.c;
  if (!t) fail('E701', 'the bundle holds no C', { remedy: 'compile with --target c' });
  const files = new Map<string, string>();
  for (const path of Object.keys(b.manifest.files)) {
    if (path.startsWith(`${t.folder}/`)) files.set(path.slice(t.folder.length + 1), new TextDecoder().decode(await b.read(path)));
  }
  const binary: CBinary | null = await compileC(files);
  if (!binary) return NO_C_COMPILER;
  // Sizes of ports and results follow from the program alone.
  const [plan] = planC(program, { isas: ['portable'] });
  return { run: (samples, steps) => runC(binary, plan, samples, { steps }), dispose: () => binary.dispose() };
}

/** The recorded samples of a bundle. */
export async function recordedVectors(b: OpenBundle): Promise<{ inputs: TensorMap; outputs: TensorMap }[]> {
  const arrays = readNpz(await b.read(b.manifest.reference.vectors));
  const count = [...arrays.values()][0]?.shape[0] ?? 0;
  if (count === 0) fail('E701', 'the bundle records no vectors', { node: b.manifest.reference.vectors, remedy: 'compile the model again' });
  const sample = (prefix: string, ports: readonly PortReport[], i: number): TensorMap =>
    new Map(ports.map((p) => {
      const all = arrays.get(`${prefix}/${p.name}`);
      if (all?.dtype !== p.dtype || !sameShape(all.shape, [count, ...p.shape])) fail('E701', 'recorded vectors do not fit the manifest', { node: p.name });
      const n = elementCount(p.shape);
      return [p.name, tensor(p.dtype, p.shape, all.data.slice(i * n, (i + 1) * n))];
    }));
  return Array.from({ length: count }, (_, i) => ({ inputs: sample('in', b.manifest.inputs, i), outputs: sample('out', b.manifest.outputs, i) }));
}
