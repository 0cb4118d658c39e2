import type { Exclusion } from '../exclusions.js';

/** What the reference runs and WebAssembly (SIMD128 or scalar) does not: nothing. */
export const WASM_EXCLUSIONS: readonly Exclusion[] = [];
