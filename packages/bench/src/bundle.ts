/** `bitloom bench`: a bundle's code, timed against other engines on the same network, and call by call. */
import { fileURLToPath } from 'node:url';
import { type OpenBundle, openBundle, supports } from '@bitloom/bundle';
import { NO_RELAXED, recordedVectors, referenceProgram } from '@bitloom/compiler';
import { BitloomError, fail } from '@bitloom/diagnostics';
import type { Program, TensorMap } from '@bitloom/kernel-spec';
import { readModelFile } from '@bitloom/onnx';
import { byteSize, elementCount } from '@bitloom/tensor';
import { C_ENGINES, type PeerName } from './engines.js';
import { Lab, type Profiled, findPeer } from './lab.js';
import { type Contender, type Measurement, type RoundOptions, measure } from './rounds.js';

export interface BundleBenchOptions extends RoundOptions {
  readonly against: readonly PeerName[];
  /** Folders of other bundles of the network, such as that at W8A8. */
  readonly beside: readonly string[];
  /** Float ONNX file of the same network, and the one that `compile --emit-qdq` wrote: what the others run. */
  readonly model: string | null;
  readonly qdq: string | null;
  readonly profile: boolean;
  readonly clock: 'wall' | 'cpu';
  /** Folder of the user, where packages to compare with are looked up before Bitloom's own. */
  readonly folder: string;
}

/** Times of an engine, per run, in ns. */
export interface EngineTime extends Pick<Measurement, 'iterations' | 'best' | 'median'> {
  /** `wasm`, `c`, or a package to compare with. */
  readonly engine: string;
  /** Instruction set of a module, or that C chose; version of a package. */
  readonly detail: string | null;
  /** `bundle`, the folder of another bundle, `f32` or `int8` for packages. */
  readonly precision: string;
}

export interface CallTime {
  readonly call: number;
  /** ONNX node. */
  readonly node: string;
  readonly kernel: string;
  readonly min: number;
  readonly median: number;
  /** Of the sum over all calls. */
  readonly share: number;
}

export interface BundleBenchReport {
  readonly model: string;
  readonly engines: readonly EngineTime[];
  /** Ours, call by call; empty without `profile`. */
  readonly profile: readonly { readonly engine: string; readonly detail: string | null; readonly calls: readonly CallTime[] }[];
  /** What could not be timed, and why. */
  readonly skipped: readonly string[];
}

interface Ours extends Pick<EngineTime, 'engine' | 'detail'> {
  readonly contender: Profiled;
}

/** The bundle's modules and its C code as contenders. */
async function ours(lab: Lab, b: OpenBundle, program: Program, inputs: TensorMap, skip: (reason: string) => void): Promise<Ours[]> {
  const { wasm, c } = b.manifest.targets;
  const bytes = (ports: typeof b.manifest.inputs): number[] => ports.map((p) => elementCount(p.shape) * byteSize(p.dtype));
  const found: Ours[] = [];
  const outputs = bytes(b.manifest.outputs);
  const onOneThread = (m: { features: readonly string[] }): boolean => !m.features.includes('threads');
  for (const m of wasm?.modules.filter(onOneThread) ?? []) {
    if (!supports(m.features)) {
      skip(`${m.module}: ${NO_RELAXED}, so the loader does not take it`);
      continue;
    }
    found.push({
      engine: 'wasm', detail: m.features[m.features.length - 1] ?? null,
      contender: await lab.wasm('wasm', {
        wasm: await b.read(m.module), weights: await b.read(wasm!.weights), weightsBase: m.weightsBase, steps: program.calls.length,
        inputs: b.manifest.inputs.map((p, i) => ({ name: p.name, address: m.inputs[i] })),
        outputs: m.outputs.map((address, i) => ({ address, bytes: outputs[i] })),
      }, inputs),
    });
  }
  if (c) {
    const paths = Object.keys(b.manifest.files).filter((f) => f.startsWith(`${c.folder}/`));
    const files = new Map(await Promise.all(paths.map(async (f) => [f.slice(c.folder.length + 1), new TextDecoder().decode(await b.read(f))] as const)));
    const net = { name: c.name, files, inputs: bytes(b.manifest.inputs), outputs };
    try {
      const contender = await lab.c('c', net, b.manifest.inputs.map((p) => inputs.get(p.name)!), C_ENGINES.c);
      found.push({ engine: 'c', detail: contender.isa, contender });
    } catch (error) {
      if (!(error instanceof BitloomError)) throw error;
      skip(`c: ${error.diagnostic.found ?? error.message}`);
    }
  }
  return found;
}

/** Time for which calls are timed one by one. */
const PROFILE_NS = 500e6;

/**
 * Times a bundle on its first recorded sample.
 * @throws E103 without a model for the others, E705 where one is not installed, E604 where one does not take the model, E701 for a damaged bundle
 */
export async function benchBundle(folder: string, o: BundleBenchOptions): Promise<BundleBenchReport> {
  if (o.against.length > 0 && o.model === null && o.qdq === null) {
    fail('E103', 'a bundle does not hold the model that others run', { found: `--against ${o.against.join(',')}`, remedy: 'add --model net.onnx' });
  }
  const own = fileURLToPath(new URL('..', import.meta.url));
  const peers = o.against.map((name) => ({ name, ...findPeer(name, [o.folder, own]) }));
  for (const file of [o.model, o.qdq]) if (file !== null) await readModelFile(file);
  const b = await openBundle(folder);
  const others = await Promise.all(o.beside.map(async (path) => [path, await openBundle(path)] as const));
  const program = await referenceProgram(b);
  const [{ inputs }] = await recordedVectors(b);
  const skipped: string[] = [];
  const lab = new Lab({ node: process.execPath, nodeFlags: [], clock: o.clock });
  try {
    const mine = await ours(lab, b, program, inputs, (reason) => skipped.push(reason));
    const all: (Omit<EngineTime, 'iterations' | 'best' | 'median'> & { contender: Contender })[] =
      mine.map((m) => ({ ...m, precision: 'bundle' }));
    for (const [path, other] of others) {
      const [vector] = await recordedVectors(other);
      const found = await ours(lab, other, await referenceProgram(other), vector.inputs, (reason) => skipped.push(`${path}: ${reason}`));
      all.push(...found.map((m) => ({ ...m, precision: path })));
    }
    for (const { name, entry, version } of peers) {
      for (const [precision, file] of [['f32', o.model], ['int8', o.qdq]] as const) {
        if (file !== null) all.push({ engine: name, detail: version, precision, contender: await lab.peer(name, name, entry, file, inputs) });
      }
    }
    const measured = await measure(all.map((a) => a.contender), o);
    const engines = all.map(({ contender: _, ...e }, i): EngineTime => {
      const { iterations, best, median } = measured[i];
      return { ...e, iterations, best, median };
    });
    const profile: BundleBenchReport['profile'][number][] = [];
    if (o.profile) {
      for (const [i, { engine, detail, contender }] of mine.entries()) {
        const times = await contender.profile(Math.max(5, Math.ceil(PROFILE_NS / engines[i].median)));
        const kernelOf = kernels(b, engine, detail);
        const sum = times.reduce((s, c) => s + c.median, 0);
        const calls = times.map((t, k): CallTime => {
          const { family, origin } = program.calls[k];
          return { call: k, node: origin, kernel: family === 'nest' ? 'nest' : kernelOf(origin), ...t, share: t.median / sum };
        });
        profile.push({ engine, detail, calls });
      }
    }
    return { model: b.manifest.model.name, engines, profile, skipped };
  } finally {
    await lab.dispose();
  }
}

/** Kernel of a layer as the manifest names it, by target and instruction set. */
function kernels(b: OpenBundle, engine: string, detail: string | null): (layer: string) => string {
  const byLayer = new Map(b.manifest.layers.map((l) => [l.name, l.kernel]));
  return (layer) => {
    const kernel = byLayer.get(layer) ?? {};
    return kernel[`${engine}-${detail?.replace(/-simd$/, '')}`] ?? kernel[engine] ?? 'nest';
  };
}
