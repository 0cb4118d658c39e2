/** From a compiled network to the files of a bundle. */
import { arenaBytes, cName, emitC } from '@bitloom/backend-c';
import { addressOf, emitWasm } from '@bitloom/backend-wasm';
import { type Files, type Manifest, type ModelSpec, SCHEMA_VERSION, fileTable, sealManifest, writeLoader } from '@bitloom/bundle';
import type { CostTable, Plan } from '@bitloom/codegen';
import { fail } from '@bitloom/diagnostics';
import type { ValueId } from '@bitloom/ir';
import { type TensorMap, programToJson, runProgram } from '@bitloom/kernel-spec';
import { type Tensor, tensor, writeNpz } from '@bitloom/tensor';
import type { CompileOptions, TargetName } from './options.js';
import type { Compiled } from './pipeline.js';
import { type KernelReport, type NetworkReport, type PortReport, kernelsOf, networkReport, outputKind, portOf, portQuantization } from './report.js';
import { planTime } from './latency.js';
import { costsOf, countedFlavour, flavoursOf, plansFor } from './targets.js';
import { VERSION } from './version.js';

const C_FOLDER = 'c';
const WEIGHTS = 'weights.bin';
const PROGRAM = 'reference/program.json';
const CONSTANTS = 'reference/constants.bin';
const VECTORS = 'reference/vectors.npz';

type WasmModule = NonNullable<Manifest['targets']['wasm']>['modules'][number];
/** By instruction set, as plans name it. */
const WASM_FEATURES: Readonly<Record<string, WasmModule['features']>> = {
  'wasm-scalar': [], 'wasm-simd128': ['simd128'], 'wasm-relaxed': ['simd128', 'relaxed-simd'],
};

export interface Built {
  readonly files: Files;
  readonly manifest: Manifest;
  /** Kernels and times are those of `counted`, see {@link countedFlavour}. */
  readonly network: NetworkReport;
  readonly counted: string;
}

const json = (v: unknown): string => `${JSON.stringify(v, null, 2)}\n`;

/** `in/NAME` and `out/NAME` arrays with the sample number as leading dimension. */
function vectorFile(vectors: readonly { inputs: TensorMap; outputs: TensorMap }[]): Uint8Array {
  const stack = (parts: readonly Tensor[]): Tensor => {
    const [{ dtype, shape, data }] = parts;
    const all = new (data.constructor as Float32ArrayConstructor)(data.length * parts.length);
    parts.forEach((p, i) => all.set(p.data as Float32Array, i * data.length));
    return tensor(dtype, [parts.length, ...shape], all);
  };
  const arrays = new Map<string, Tensor>();
  for (const name of vectors[0]?.inputs.keys() ?? []) arrays.set(`in/${name}`, stack(vectors.map((v) => v.inputs.get(name)!)));
  for (const name of vectors[0]?.outputs.keys() ?? []) arrays.set(`out/${name}`, stack(vectors.map((v) => v.outputs.get(name)!)));
  return writeNpz(arrays);
}

const byTarget = <T, U>(all: ReadonlyMap<string, T>, of: (v: T) => U): Record<string, U> => Object.fromEntries([...all].map(([t, v]) => [t, of(v)]));
const costOf = (k?: KernelReport): Manifest['layers'][number]['cost'][string] =>
  ({ ns: k?.ns ?? 0, measured: k?.measured ?? false, runnerUp: k?.runnerUp ?? null, runnerUpNs: k?.runnerUpNs ?? null });

/** The target that makes the module, if any. @throws E103 for two of them */
export function wasmTargetOf(targets: readonly TargetName[]): TargetName | undefined {
  const [first, other] = new Set(targets.filter((t) => t !== 'c'));
  if (other) fail('E103', 'a bundle holds the modules of one WebAssembly target', { found: targets.join(', '), remedy: 'choose one of them; wasm has a module for relaxed SIMD and one without' });
  return first;
}

/** @param samples inputs for the recorded vectors @param costs the user's own times */
export async function buildBundle(c: Compiled, o: CompileOptions, samples: readonly TensorMap[], costs: CostTable | null = null): Promise<Built> {
  const { graph, model } = c;
  const program = c.program ?? fail('E901', 'nothing to build');
  const plans = new Map(o.target.map((t) => [t, plansFor(program, t, costs, t === 'c' ? o.threads : 1)]));
  const wasmTarget = wasmTargetOf(o.target);
  const first = plans.get(o.target[0])!;
  const [packed] = plans.get(wasmTarget ?? 'c')!;
  const vectors = samples.map((inputs) => ({ inputs, outputs: runProgram(program, inputs) }));

  const files = new Map<string, Uint8Array | string>();
  files.set(WEIGHTS, packed.weights.slice(0, packed.packedBytes));
  files.set(PROGRAM, json(programToJson(program)));
  files.set(CONSTANTS, packed.weights.slice(packed.packedBytes));
  files.set(VECTORS, vectorFile(vectors));

  const targets: { -readonly [K in keyof Manifest['targets']]: Manifest['targets'][K] } = {};
  let codeBytes = 0;
  if (wasmTarget) {
    const modules: WasmModule[] = [];
    const threaded = o.threads > 1 ? plansFor(program, wasmTarget, costs, o.threads) : [];
    for (const [i, plan] of [...plans.get(wasmTarget)!, ...threaded].entries()) {
      if (!Buffer.from(plan.weights).equals(packed.weights)) fail('E901', 'modules of a bundle pack their weights differently');
      const { wasm, layout } = await emitWasm(plan);
      const shared = plan.threads > 1;
      const module = i === 0 ? 'model.wasm' : `model.${[plan.target.replace('wasm-', ''), ...(shared ? ['threads'] : [])].join('.')}.wasm`;
      files.set(module, wasm);
      codeBytes += wasm.length;
      const address = (p: Plan['inputs'][number]): number => addressOf(layout, p.location);
      modules.unshift({
        module, features: [...WASM_FEATURES[plan.target], ...(shared ? ['threads' as const] : [])], arenaBytes: plan.arenaBytes,
        weightsBase: layout.weightsBase, arenaBase: layout.arenaBase, codeBytes: wasm.length, ...(shared ? { threads: plan.threads, pages: layout.pages } : {}),
        inputs: plan.inputs.map(address), outputs: plan.outputs.map(address),
        results: plan.calls.map((call) => call.results.map((r) => addressOf(layout, r))),
      });
    }
    targets.wasm = { weights: WEIGHTS, modules };
    const port = ({ name, buffer }: Plan['inputs'][number]): PortReport => {
      const { dtype, shape } = program.buffers[buffer];
      return { name, dtype, shape };
    };
    const spec: ModelSpec = {
      weightsBytes: packed.packedBytes, inputs: packed.inputs.map(port), outputs: packed.outputs.map(port),
      modules: modules.map(({ module: file, features, weightsBase, inputs, outputs, threads, pages }) => ({ file, features, weightsBase, inputs, outputs, threads, pages })) as never,
    };
    for (const [path, text] of writeLoader(model.name, spec, WEIGHTS)) files.set(path, text);
  }
  if (o.target.includes('c')) {
    const cPlans = plans.get('c')!;
    const name = cName(o.cName);
    const emitted = emitC(cPlans, { name, vectors });
    let bytes = 0;
    for (const [path, text] of emitted) {
      files.set(`${C_FOLDER}/${path}`, text);
      if (path === `${name}.c` || path === `${name}.h`) bytes += Buffer.byteLength(text);
    }
    if (o.target[0] === 'c') codeBytes = bytes;
    targets.c = { folder: C_FOLDER, name, arenaBytes: arenaBytes(cPlans), codeBytes: bytes };
  }

  const kernels = new Map<string, ReadonlyMap<string, KernelReport>>();
  const latency: Record<string, number> = {};
  for (const [t, of] of plans) {
    flavoursOf(t).forEach((f, i) => {
      const model = costsOf(f.backend, costs);
      kernels.set(f.label, kernelsOf(of[i], model));
      latency[f.label] = planTime(of[i], model);
    });
  }
  const counted = countedFlavour(o.target[0], costs).label;
  const network = networkReport(graph, kernels.get(counted)!);
  const described = (id: ValueId): Manifest['inputs'][number] => ({ ...portOf(graph, id), ...portQuantization(graph, id) });
  const { strategy = c.choice ? 'assignment' : 'none', objective = null, lowerBound = null, gap = null } = c.search ?? {};
  const manifest = sealManifest({
    schemaVersion: SCHEMA_VERSION,
    generator: { name: 'bitloom', version: VERSION },
    model: { name: model.name, sha256: model.sha256, opset: model.opset },
    inputs: graph.inputs.map(described),
    outputs: graph.outputs.map(described),
    classifier: outputKind(graph),
    targets,
    reference: {
      program: PROGRAM, constants: CONSTANTS, weights: WEIGHTS, vectors: VECTORS,
      table: packed.constants.map((k) => ({
        buffer: k.buffer, packing: k.packing, rows: k.shape?.rows ?? 0, k: k.shape?.k ?? 0, bits: k.shape?.bits ?? null,
        offset: k.location.offset, bytes: k.location.bytes,
      })),
    },
    layers: network.layers.map((l) => ({
      name: l.name, op: l.op, weightBits: l.weightBits, activationBits: l.activationBits, macs: l.macs, params: l.params,
      kernel: byTarget(kernels, (of) => of.get(l.name)?.kernel ?? 'nest'),
      cost: byTarget(kernels, (of) => costOf(of.get(l.name))),
    })),
    bits: network.bits,
    latency,
    bytes: {
      weights: packed.packedBytes, code: codeBytes, arena: arenaBytes(first), live: Math.max(...first.map((p) => p.liveBytes)),
      floatWeights: network.floatWeightBytes,
    },
    cost: { bops: network.bops },
    search: { strategy, objective, lowerBound, gap },
    calibration: c.observed && {
      data: c.observed.synthetic ? 'synthetic' : c.observed.data.fingerprint, samples: c.observed.data.size, method: o.calibration,
    },
    preprocessing: o.preprocessing,
    files: fileTable(files),
  });
  files.set('manifest.json', json(manifest));
  return { files, manifest, network, counted };
}
