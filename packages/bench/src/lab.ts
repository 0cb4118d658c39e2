/** Where contenders are made and run: a temporary folder, one process per engine, and one per round of C. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { type CBinary, NO_C_COMPILER, compileC } from '@bitloom/backend-c';
import { fail } from '@bitloom/diagnostics';
import { type DType, type Tensor, bytesOf } from '@bitloom/tensor';
import { type CNetwork, timingProgram } from './c-main.js';
import type { CEngine, PeerName } from './engines.js';
import type { Contender } from './rounds.js';
import { type Timing, Worker, workerFile } from './worker.js';

/** A contender that may be asked for the times of its calls. */
export interface Profiled extends Contender {
  /** Instruction set that C chose; null for others. */
  readonly isa: string | null;
  profile(n: number): Promise<{ readonly min: number; readonly median: number }[]>;
}

export interface WasmNetwork {
  readonly wasm: Uint8Array;
  readonly weights: Uint8Array;
  readonly weightsBase: number;
  readonly steps: number;
  /** Addresses of inputs, in the order of the names; addresses and bytes of outputs. */
  readonly inputs: readonly { readonly name: string; readonly address: number }[];
  readonly outputs: readonly { readonly address: number; readonly bytes: number }[];
}

const ORT_TYPE: Readonly<Record<DType, string>> = {
  f32: 'float32', f64: 'float64', i8: 'int8', i16: 'int16', i32: 'int32', i64: 'int64', u8: 'uint8', u16: 'uint16', u32: 'uint32', u64: 'uint64', bool: 'bool',
};

/** Where a peer's module lies, and its version. */
interface PeerModule {
  readonly entry: string;
  readonly version: string;
}

/** @param folders looked in one after the other @throws E705 */
export function findPeer(name: PeerName, folders: readonly string[]): PeerModule {
  for (const folder of folders) {
    const require = createRequire(join(folder, 'package.json'));
    try {
      // The CPU build alone: no WebGPU, and everything in one file.
      const entry = require.resolve(name === 'onnxruntime-web' ? 'onnxruntime-web/wasm' : name);
      const root = entry.slice(0, entry.lastIndexOf(name) + name.length);
      return { entry: pathToFileURL(entry).href, version: (require(join(root, 'package.json')) as { version: string }).version };
    } catch {
      continue;
    }
  }
  return fail('E705', 'the peer is not installed', { node: name, found: folders.join(', '), remedy: `npm install ${name}` });
}

export interface LabOptions {
  /** Program that runs WebAssembly contenders. */
  readonly node: string;
  /** Its further arguments. */
  readonly nodeFlags: readonly string[];
  /** What is counted: time that passes, or time that the contender computes. */
  readonly clock: 'wall' | 'cpu';
}

/** Node has relaxed SIMD from version 21 on; 20 wants a flag. */
function relaxedFlags(node: string): string[] {
  const version = execFileSync(node, ['--version'], { encoding: 'utf8' }).trim();
  return Number(/^v(\d+)/.exec(version)?.[1]) < 21 ? ['--experimental-wasm-relaxed-simd'] : [];
}

export class Lab {
  readonly folder = mkdtempSync(join(tmpdir(), 'bitloom-bench-'));
  private readonly workers = new Map<string, Worker>();
  private readonly binaries: CBinary[] = [];
  private count = 0;

  // An interrupted process leaves without disposing.
  private readonly remove = (): void => rmSync(this.folder, { recursive: true, force: true });

  constructor(private readonly options: LabOptions) {
    process.on('exit', this.remove);
  }

  /** A file of the lab. */
  write(name: string, data: Uint8Array | string): string {
    const path = join(this.folder, `${this.count++}-${name}`);
    writeFileSync(path, data);
    return path;
  }

  private worker(key: string, command: string, args: readonly string[]): Worker {
    let w = this.workers.get(key);
    if (!w) this.workers.set(key, (w = new Worker(command, args, { BITLOOM_BENCH_CLOCK: this.options.clock })));
    return w;
  }

  private async contender(name: string, worker: Worker, spec: unknown): Promise<Profiled> {
    const id = String(this.count++);
    const { isa = null } = await worker.load(id, spec);
    return { name, isa, run: (n) => worker.run(id, n), profile: (n) => worker.profile(id, n) };
  }

  async wasm(name: string, net: WasmNetwork, inputs: ReadonlyMap<string, Tensor>): Promise<Profiled> {
    const { node, nodeFlags } = this.options;
    return this.contender(name, this.worker('wasm', node, [...relaxedFlags(node), ...nodeFlags, workerFile('wasm')]), {
      module: this.write('model.wasm', net.wasm), weights: this.write('weights.bin', net.weights), weightsBase: net.weightsBase, steps: net.steps,
      inputs: net.inputs.map((p) => ({ address: p.address, file: this.write('input', bytesOf(inputs.get(p.name)!)) })), outputs: net.outputs,
    });
  }

  /** @param model ONNX file; inputs by its names @throws E705 */
  async peer(name: string, peer: PeerName, entry: string, model: string, inputs: ReadonlyMap<string, Tensor>): Promise<Contender> {
    const web = peer === 'onnxruntime-web';
    const { node, nodeFlags } = this.options;
    // Two onnxruntime packages in one process share a registry of backends, and silently the backend.
    const worker = this.worker(peer, web ? node : process.execPath, [...(web ? nodeFlags : []), workerFile('onnxruntime'), web ? 'web' : 'node', entry]);
    return this.contender(name, worker, {
      model, inputs: [...inputs].map(([n, t]) => ({ name: n, type: ORT_TYPE[t.dtype], dims: t.shape, file: this.write('input', bytesOf(t)) })),
    });
  }

  /** @throws E603 without a C compiler */
  async c(name: string, net: CNetwork, inputs: readonly Tensor[], engine: CEngine): Promise<Profiled> {
    const binary = (await compileC(timingProgram(net), { flags: engine.flags })) ??
      fail('E603', 'the C code cannot be run here', { found: NO_C_COMPILER, remedy: 'install gcc' });
    this.binaries.push(binary);
    const spec = { isa: engine.isa ?? '', inputs: inputs.map((t) => this.write('input', bytesOf(t))) };
    // Times of one process agree within 1 %, those of two differ by up to 4 % (MobileNetV2, arena of 1.5 MB): it matters which pages of memory a
    // process was given. So each round runs in a process of its own.
    const fresh = async (): Promise<Profiled> => {
      this.workers.get(binary.path)?.close();
      this.workers.delete(binary.path);
      return this.contender(name, this.worker(binary.path, binary.path, []), spec);
    };
    const { isa } = await fresh();
    const run = async (n: number): Promise<Timing> => {
      const c = await fresh();
      await c.run(Math.ceil(n / 4));
      return c.run(n);
    };
    return { name, isa, run, profile: async (n) => (await fresh()).profile(n) };
  }

  /** Ends the processes, so that the next ones start afresh. */
  async clear(): Promise<void> {
    for (const w of this.workers.values()) w.close();
    this.workers.clear();
    await Promise.all(this.binaries.splice(0).map((b) => b.dispose()));
  }

  async dispose(): Promise<void> {
    await this.clear();
    this.remove();
    process.off('exit', this.remove);
  }
}
