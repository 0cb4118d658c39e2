export * from './emit.js';
export * from './run.js';
export { printNest, supportFunctions, type Uses } from './print-nest.js';
export { WASM_VARIANTS, variantsFor, type WasmVariant } from './variants.js';
export type { Isa, WasmFunction } from './family.js';
