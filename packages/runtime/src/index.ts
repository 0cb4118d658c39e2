/**
 * What a bundle's loader imports: chooses the module, instantiates it, places the weights, moves tensors in and out. Depends on
 * nothing and runs in browsers, workers, Node, Deno and Bun.
 */

export type DType = 'f32' | 'f64' | 'i8' | 'i16' | 'i32' | 'i64' | 'u8' | 'u16' | 'u32' | 'u64' | 'bool';

export interface PortSpec {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
}

export interface ModuleSpec {
  readonly file: string;
  /** What it takes of the engine, see {@link supports}. */
  readonly features: readonly string[];
  /** Byte address of the packed weights. */
  readonly weightsBase: number;
  /** Byte addresses of the ports in the module's memory. */
  readonly inputs: readonly number[];
  readonly outputs: readonly number[];
  /** Threads that the module is made for, and pages of the memory that they share. */
  readonly threads?: number;
  readonly pages?: number;
}

export interface ModelSpec {
  readonly weightsBytes: number;
  readonly inputs: readonly PortSpec[];
  readonly outputs: readonly PortSpec[];
  /** Fastest first; the last one is for engines that support no other. */
  readonly modules: readonly [ModuleSpec, ...ModuleSpec[]];
}

export type Data = Float32Array | Float64Array | Int8Array | Int16Array | Int32Array | BigInt64Array | Uint8Array | Uint16Array | Uint32Array | BigUint64Array;

const ARRAYS = {
  f32: Float32Array, f64: Float64Array, i8: Int8Array, i16: Int16Array, i32: Int32Array, i64: BigInt64Array,
  u8: Uint8Array, u16: Uint16Array, u32: Uint32Array, u64: BigUint64Array, bool: Uint8Array,
} as const;

export interface Model {
  /**
   * Runs the network once. Row-major inputs by name; returns fresh arrays by name.
   * @throws TypeError for a missing input, or one of the wrong type or length
   */
  run(inputs: Readonly<Record<string, Data>>): Record<string, Data>;
  /** Ends the other threads, if there are any. */
  dispose(): void;
}

/** Bytes, a response, or a compiled module. */
export type ModuleSource = BufferSource | Response | WebAssembly.Module;

export interface Sources {
  /** The module, if not loaded from beside the loader: what gives it by its file name, or the last one of {@link ModelSpec.modules}. */
  readonly wasm?: ModuleSource | ((file: string) => ModuleSource | Promise<ModuleSource>);
  readonly weights?: ArrayBuffer | Uint8Array;
  /** False: not a module for several threads, even where the engine would run it. */
  readonly threads?: boolean;
}

/** The files that a bundle's loader stands beside. */
export interface BundleFiles {
  /** Addresses of the modules, in their order. */
  readonly wasm: readonly URL[];
  readonly weights: URL;
  /** What threads run: the address, and what makes a worker of it in a browser. */
  readonly threads?: { readonly file: URL; readonly worker: () => Worker };
}

/**
 * Stores at 80, 96 and 112: i8x16.relaxed_swizzle of the vectors at 0 and 16, i16x8.relaxed_dot_i8x16_i7x16_s of those at 32 and 48,
 * i32x4.relaxed_dot_i8x16_i7x16_add_s of these and the one at 64.
 */
const RELAXED_PROBE = 'AGFzbQEAAAABBAFgAAADAgEABQMBAAEHCQIBbQIAAWYAAApNAUsAQdAAQQD9AAQAQRD9AAQA/YAC/QsEAEHgAEEg/QAEAEEw/QAEAP2SAv0LBABB8ABBIP0ABABBMP0ABABBwAD9AAQA/ZMC/QsEAAs=';

/**
 * Whether the engine has relaxed SIMD and computes what the kernels rely on, which validation does not tell: an early compiler
 * of V8 got one of the instructions wrong.
 */
export function computesRelaxed(): boolean {
  const code = Uint8Array.from(atob(RELAXED_PROBE), (c) => c.charCodeAt(0));
  if (!WebAssembly.validate(code)) return false;
  const { m, f } = new WebAssembly.Instance(new WebAssembly.Module(code)).exports as unknown as { m: WebAssembly.Memory; f(): void };
  const bytes = new Uint8Array(m.buffer, 0, 80);
  const signed = new Int8Array(m.buffer);
  const sums = new Int32Array(m.buffer, 64, 4);
  const [dots, fours] = [new Int16Array(m.buffer, 96, 8), new Int32Array(m.buffer, 112, 4)];
  for (let round = 0; round < 8; round++) {
    for (let i = 0; i < 16; i++) {
      bytes[i] = 255 - 37 * i - round;
      bytes[16 + i] = (i * (2 * round + 1)) % 16;
      // Extremes in the first rounds: −128 or 127 times 127, in pairs of one sign or two.
      signed[32 + i] = round < 4 ? ((i >> (round & 1)) & 1) ^ (round >> 1) ? 127 : -128 : 53 * i + 29 * round;
      bytes[48 + i] = round < 4 ? 127 : (71 * i + 13 * round) % 128;
    }
    sums.set([0x7fff0000, -0x80000000, -1, 12345 * round]);
    f();
    const pair = (i: number): number => signed[32 + 2 * i] * bytes[48 + 2 * i] + signed[33 + 2 * i] * bytes[49 + 2 * i];
    for (let i = 0; i < 16; i++) if (new Uint8Array(m.buffer)[80 + i] !== bytes[bytes[16 + i]]) return false;
    for (let i = 0; i < 8; i++) if (dots[i] !== pair(i)) return false;
    for (let i = 0; i < 4; i++) if (fours[i] !== ((sums[i] + pair(2 * i) + pair(2 * i + 1)) | 0)) return false;
  }
  return true;
}

let relaxed = false;

/** Whether memory may be shared: pages must be isolated from other origins. */
const sharesMemory = (): boolean => typeof SharedArrayBuffer !== 'undefined' && (globalThis as { crossOriginIsolated?: boolean }).crossOriginIsolated !== false;

/** Whether the engine runs modules of such features. What has WebAssembly today has SIMD. */
export const supports = (features: readonly string[]): boolean =>
  (!features.includes('threads') || sharesMemory()) && (!features.includes('relaxed-simd') || (relaxed ||= computesRelaxed()));

/** Bytes of a file next to the loader: read from disk under file:, fetched elsewhere. */
async function bytesAt(url: URL): Promise<Uint8Array> {
  if (url.protocol === 'file:') {
    const fs = 'node:fs/promises';
    const { readFile } = (await import(/* @vite-ignore */ /* webpackIgnore: true */ fs)) as { readFile(u: URL): Promise<Uint8Array> };
    return readFile(url);
  }
  const response = await fetch(url);
  if (!response.ok) throw new Error(`cannot load ${url.href}: HTTP ${response.status}`);
  return new Uint8Array(await response.arrayBuffer());
}

async function moduleOf(wasm: ModuleSource): Promise<WebAssembly.Module> {
  if (wasm instanceof WebAssembly.Module) return wasm;
  if (typeof Response !== 'undefined' && wasm instanceof Response) return WebAssembly.compile(await wasm.arrayBuffer());
  return WebAssembly.compile(wasm as BufferSource);
}

/** Starts threads 1 to count − 1, which then wait for work. @returns what ends them */
async function startThreads(files: BundleFiles, module: WebAssembly.Module, memory: WebAssembly.Memory, count: number): Promise<() => void> {
  const { file, worker } = files.threads!;
  const started = Array.from({ length: count - 1 }, async (_, i) => {
    const data = { module, memory, thread: i + 1 };
    if (typeof Worker === 'function') {
      const w = worker();
      await new Promise<void>((resolve, reject) => {
        w.onmessage = () => resolve();
        w.onerror = (e) => reject(new Error(`a thread does not start: ${e.message}`));
        w.postMessage(data);
      });
      return () => w.terminate();
    }
    const threads = 'node:worker_threads';
    const node = (await import(/* @vite-ignore */ /* webpackIgnore: true */ threads)) as {
      Worker: new (f: URL, o: object) => { once(e: string, f: (x: unknown) => void): void; unref(): void; terminate(): void };
    };
    const w = new node.Worker(file, { workerData: data });
    await new Promise((resolve, reject) => {
      w.once('message', resolve);
      w.once('error', reject);
    });
    // A program that has nothing else to do ends.
    w.unref();
    return () => w.terminate();
  });
  const ends = await Promise.all(started);
  return () => ends.forEach((end) => end());
}

/** Instantiates a bundle: the first module that the engine runs, in as many threads as it is made for. */
export async function instantiate(spec: ModelSpec, files: BundleFiles, sources: Sources = {}): Promise<Model> {
  const { wasm } = sources;
  const given = wasm !== undefined && typeof wasm !== 'function';
  const best = given ? -1 : spec.modules.findIndex((m) => supports(m.features) && (sources.threads !== false || !m.threads));
  const choice = best < 0 ? spec.modules.length - 1 : best;
  const chosen = spec.modules[choice];
  const source = async (): Promise<ModuleSource> => {
    if (given) return wasm;
    return wasm ? wasm(chosen.file) : ((await bytesAt(files.wasm[choice])) as Uint8Array<ArrayBuffer>);
  };
  const [module, weights] = await Promise.all([
    source().then(moduleOf),
    (async () => (sources.weights ? new Uint8Array(sources.weights) : bytesAt(files.weights)))(),
  ]);
  if (weights.length !== spec.weightsBytes) throw new Error(`weights are ${weights.length} bytes, expected ${spec.weightsBytes}`);
  const { threads = 1, pages = 0 } = chosen;
  const shared = threads > 1 ? new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true }) : null;
  const { exports } = await WebAssembly.instantiate(module, shared ? { env: { memory: shared } } : {});
  const memory = exports.memory as WebAssembly.Memory;
  new Uint8Array(memory.buffer).set(weights, chosen.weightsBase);
  (exports.prepare as () => void)();
  const dispose = shared ? await startThreads(files, module, shared, threads) : () => {};
  // The main thread of a page must not sleep.
  const maySleep = typeof (globalThis as { document?: unknown }).document === 'undefined' ? 1 : 0;
  const run = shared ? () => (exports.start as (maySleep: number) => void)(maySleep) : (exports.run as () => void);
  const view = (p: PortSpec, address: number): Data => new ARRAYS[p.dtype](memory.buffer as ArrayBuffer, address, p.shape.reduce((a, b) => a * b, 1));
  return {
    dispose,
    run(inputs) {
      for (const [i, p] of spec.inputs.entries()) {
        const data = inputs[p.name];
        const target = view(p, chosen.inputs[i]);
        // By tag, which subclasses (Buffer) and arrays of other realms share.
        if (data?.[Symbol.toStringTag] !== target[Symbol.toStringTag] || data.length !== target.length) {
          throw new TypeError(`input ${p.name} must be a ${target[Symbol.toStringTag]} of ${target.length} elements [${p.shape.join(', ')}]`);
        }
        (target as Float32Array).set(data as Float32Array);
      }
      run();
      return Object.fromEntries(spec.outputs.map((p, i) => [p.name, view(p, chosen.outputs[i]).slice()]));
    },
  };
}
