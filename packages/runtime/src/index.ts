/**
 * What a bundle's loader imports: instantiates the module, places the weights, moves tensors in and out. Depends on nothing and
 * runs in browsers, workers, Node, Deno and Bun.
 */

export type DType = 'f32' | 'f64' | 'i8' | 'i16' | 'i32' | 'i64' | 'u8' | 'u16' | 'u32' | 'u64' | 'bool';

export interface PortSpec {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
  /** Byte address in the module's memory. */
  readonly address: number;
}

export interface ModelSpec {
  /** Byte address of the packed weights, and how many there are. */
  readonly weightsBase: number;
  readonly weightsBytes: number;
  readonly inputs: readonly PortSpec[];
  readonly outputs: readonly PortSpec[];
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
}

export interface Sources {
  /** The module, if not loaded from beside the loader: bytes, a response, or a compiled module. */
  readonly wasm?: BufferSource | Response | WebAssembly.Module;
  readonly weights?: ArrayBuffer | Uint8Array;
}

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

async function moduleOf(wasm: NonNullable<Sources['wasm']>): Promise<WebAssembly.Module> {
  if (wasm instanceof WebAssembly.Module) return wasm;
  if (typeof Response !== 'undefined' && wasm instanceof Response) return WebAssembly.compile(await wasm.arrayBuffer());
  return WebAssembly.compile(wasm as BufferSource);
}

/** Instantiates a bundle. `files` are the addresses of its two files. */
export async function instantiate(spec: ModelSpec, files: { readonly wasm: URL; readonly weights: URL }, sources: Sources = {}): Promise<Model> {
  const [module, weights] = await Promise.all([
    (async () => moduleOf(sources.wasm ?? ((await bytesAt(files.wasm)) as Uint8Array<ArrayBuffer>)))(),
    (async () => (sources.weights ? new Uint8Array(sources.weights) : bytesAt(files.weights)))(),
  ]);
  if (weights.length !== spec.weightsBytes) throw new Error(`weights are ${weights.length} bytes, expected ${spec.weightsBytes}`);
  const { exports } = await WebAssembly.instantiate(module);
  const memory = exports.memory as WebAssembly.Memory;
  const run = exports.run as () => void;
  new Uint8Array(memory.buffer).set(weights, spec.weightsBase);
  (exports.prepare as () => void)();
  const view = (p: PortSpec): Data => new ARRAYS[p.dtype](memory.buffer as ArrayBuffer, p.address, p.shape.reduce((a, b) => a * b, 1));
  return {
    run(inputs) {
      for (const p of spec.inputs) {
        const data = inputs[p.name];
        const target = view(p);
        // By tag, which subclasses (Buffer) and arrays of other realms share.
        if (data?.[Symbol.toStringTag] !== target[Symbol.toStringTag] || data.length !== target.length) {
          throw new TypeError(`input ${p.name} must be a ${target[Symbol.toStringTag]} of ${target.length} elements [${p.shape.join(', ')}]`);
        }
        (target as Float32Array).set(data as Float32Array);
      }
      run();
      return Object.fromEntries(spec.outputs.map((p) => [p.name, view(p).slice()]));
    },
  };
}
