/** One row per target: from a Program to files. */
import { C_VARIANTS, emitC, emitVectors } from '@bitloom/backend-c';
import { WASM_VARIANTS, emitWasm } from '@bitloom/backend-wasm';
import { type Plan, makePlan } from '@bitloom/codegen';
import type { Program, TensorMap } from '@bitloom/kernel-spec';
import type { TargetName } from './options.js';

export const planFor = (program: Program, target: TargetName): Plan =>
  makePlan(program, { target, variants: target === 'c' ? C_VARIANTS : WASM_VARIANTS.filter((v) => target === 'wasm' || v.isa === 'scalar') });

export interface Vector {
  readonly inputs: TensorMap;
  readonly outputs: TensorMap;
}

export { emitC, emitVectors, emitWasm };
