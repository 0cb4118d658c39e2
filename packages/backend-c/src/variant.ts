/** What a row of the variant table is, and what templates of kernels have in common. */
import { readFileSync } from 'node:fs';
import { type KernelVariant, type PackingName, compileTemplate } from '@bitloom/codegen';
import { fail } from '@bitloom/diagnostics';
import type { ConvParams } from '@bitloom/kernel-spec';
import { type Bits, toBits } from '@bitloom/numerics';
import type { CIsa } from './isa.js';

/** A variant whose code is a template. Calls of one symbol share the rendered function. */
export interface CVariant extends KernelVariant {
  readonly isa: CIsa;
  /** The C function named `symbol(p)`; where {@link prepared} is not 0 also `symbol(p)_prepare(geometry, packed weights, vectors, prepared region)`. */
  render(p: ConvParams): string;
  /** Parts of common.c.hbs that the function needs. */
  readonly needs: readonly CommonPart[];
  /** Code that several functions share, each name once. */
  parts?(p: ConvParams): readonly CPart[];
  /** Initialiser of the call's `bl_layout`, a parameter after the geometry, where the function has one. */
  layout?(p: ConvParams): string;
  /** Parameters after the geometry and the input; 'prepared': prepared region, vectors, result, scratch ('prepared-f32': no scratch, nor vectors to prepare). */
  readonly signature: 'int' | 'depthwise' | 'f32' | 'f32-scratch' | 'prepared' | 'prepared-f32';
}

/** A piece of C, emitted once and in the order in which kernels first need it. */
export interface CPart {
  readonly name: string;
  render(): string;
}

export type CommonPart = 'gather' | 'popcount' | 'unpack' | 'dot';

export const template = <V extends object>(file: string): ((view: V) => string) => {
  let render: ((view: V) => string) | null = null;
  return (view) => (render ??= compileTemplate<V>(readFileSync(new URL(`../templates/${file}`, import.meta.url), 'utf8')))(view);
};

export const up64 = (n: number): number => Math.ceil(n / 64) * 64;
export const positionsOf = (p: ConvParams): number => p.batch * p.outH * p.outW;
export const upto = (n: number): number[] => Array.from({ length: n }, (_, i) => i);

export interface IntBits {
  readonly w: Bits;
  readonly a: Bits;
}
/** @throws E502 for widths outside 1…8, E901 for bounds that are no codes */
export function intBits(p: ConvParams): IntBits {
  const bits = { w: toBits(p.weightBits ?? 0), a: toBits(p.activationBits ?? 0) };
  if (p.output === 'codes' && !(p.lo >= 0 && p.hi <= 255 && p.lo <= p.hi)) fail('E901', 'bounds of codes outside 0 … 255', { found: `${p.lo} … ${p.hi}` });
  return bits;
}
export const resultOf = (p: ConvParams): { readonly type: string; readonly epilogue: string } =>
  p.output === 'codes' ? { type: 'uint8_t', epilogue: 'bl_code' } : { type: 'float', epilogue: 'bl_scaled' };
export const suffix = (p: ConvParams): string => (p.output === 'codes' ? 'u8' : 'f32');

/** Packings follow from the parameters alone, so that all instruction sets share the packed weights. */
export const packingOf = (p: ConvParams): PackingName =>
  p.kind === 'int' ? (p.weightBits === 8 ? 'bytes' : 'planes') : !isDepthwise(p) && (p.groups === 1 || (p.outC / p.groups) % 4 === 0) ? 'panel4' : 'f32';
export const isDepthwise = (p: ConvParams): boolean => p.inC === p.groups && p.outC === p.groups;
