/** What contenders run on. */
import { type CIsa, NATIVE_FLAGS } from '@bitloom/backend-c';

/** Modules by the instructions that they use. */
const WASM_ENGINES = ['wasm-simd128', 'wasm-relaxed', 'wasm-scalar'];

export interface CEngine {
  /** Null: the best that the machine has. */
  readonly isa: CIsa | null;
  readonly flags: readonly string[];
}

export const C_ENGINES: Readonly<Record<string, CEngine>> = {
  c: { isa: null, flags: NATIVE_FLAGS },
  'c-avx512': { isa: 'avx512', flags: NATIVE_FLAGS },
  'c-avx2': { isa: 'avx2', flags: NATIVE_FLAGS },
  // What a core without vectors runs.
  'c-scalar': { isa: 'portable', flags: ['-std=c99', '-O2', '-fno-tree-vectorize', '-DBITLOOM_NO_SIMD'] },
};

/** Packages to compare with. */
export const PEERS = ['onnxruntime-web', 'onnxruntime-node'] as const;
export type PeerName = (typeof PEERS)[number];
export const isPeer = (engine: string): engine is PeerName => (PEERS as readonly string[]).includes(engine);
export const ENGINES: readonly string[] = [...WASM_ENGINES, ...Object.keys(C_ENGINES), ...PEERS];
export const DEFAULT_ENGINES: readonly string[] = ['wasm-simd128', 'wasm-relaxed', 'c', ...PEERS];
