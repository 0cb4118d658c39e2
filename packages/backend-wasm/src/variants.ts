/** The kernel variants of WebAssembly: what each accepts, costs, needs, and the functions it is made of. */
import type { KernelVariant } from '@bitloom/codegen';
import type { ConvParams } from '@bitloom/kernel-spec';
import { DEPTHWISE } from './depthwise.js';
import { familyVariant } from './driver.js';
import { TRANSPOSED_LUT } from './transposed-lut.js';
import { WINOGRAD } from './winograd.js';
import { FAMILIES } from './families.js';
import type { Isa, WasmFunction } from './family.js';

/** Addresses of a call's operands, in memory. */
export interface Addresses {
  readonly args: readonly number[];
  readonly result: number;
  readonly scratch: number;
  readonly prepared: number;
}

/** What a call is made of. */
export interface ConvCode {
  /** Everything reached from `run` and `prepare`. */
  readonly functions: readonly WasmFunction[];
  /** Names of functions that take the address of the call's descriptor: one runs the call, one fills its prepared region. */
  readonly run: string;
  readonly prepare: string | null;
  /** Bytes of the descriptor. */
  readonly descriptorBytes: number;
}

export interface WasmVariant extends KernelVariant {
  readonly isa: Isa;
  code(p: ConvParams): ConvCode;
  /** Constant words, 4-aligned, from which the call's functions read sizes and addresses: of the whole call, or of a part of it. */
  descriptor(p: ConvParams, at: Addresses, part?: ConvParams): Int32Array;
}

/** All variants. The scalar ones accept everything of their kind, so that the choice never fails. */
export const WASM_VARIANTS: readonly WasmVariant[] = [...DEPTHWISE, ...WINOGRAD, ...TRANSPOSED_LUT, ...FAMILIES.map(familyVariant)];

/** Instruction sets that a module may use: `wasm-scalar` none, `wasm-relaxed` all, any other target SIMD128. */
export function isasOf(target: string): readonly Isa[] {
  if (target === 'wasm-scalar') return ['scalar'];
  return target === 'wasm-relaxed' ? ['relaxed', 'simd128', 'scalar'] : ['simd128', 'scalar'];
}

/** The variants that a target may use. */
export const variantsFor = (target: string): readonly WasmVariant[] => WASM_VARIANTS.filter((v) => isasOf(target).includes(v.isa));
