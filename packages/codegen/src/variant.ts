/** Kernel variants: one table per backend, from which declarations, tests, benchmarks and dispatch are derived. */
import { fail } from '@bitloom/diagnostics';
import type { ConvParams } from '@bitloom/kernel-spec';
import type { PackingName } from './packing.js';

/** What reports call the kernel. */
export type KernelName = 'bitserial' | 'int8' | 'depthwise' | 'f32';

/**
 * A specialised implementation of the conv family. Code is specialised by `symbol`: calls with the same symbol share one
 * function, everything else about the call is a run-time parameter.
 */
export interface KernelVariant {
  readonly name: string;
  readonly kernel: KernelName;
  /** 'scalar', 'simd128', 'c99' … */
  readonly isa: string;
  accepts(p: ConvParams): boolean;
  /** Estimated time in ns of one call on the reference machine; the smallest wins. Measured tables replace it. */
  cost(p: ConvParams): number;
  packing(p: ConvParams): PackingName;
  /** Bytes of arena scratch during the call. */
  scratch(p: ConvParams): number;
  symbol(p: ConvParams): string;
}

/** Restricts the choice, e.g. to force `bitserial` in tests. */
export type VariantFilter = (v: KernelVariant, p: ConvParams) => boolean;

/** The cheapest variant that accepts the parameters; ties go to the earlier row. */
export function chooseVariant<V extends KernelVariant>(variants: readonly V[], p: ConvParams, origin: string, filter: VariantFilter = () => true): V {
  let best: V | null = null;
  for (const v of variants) if (v.accepts(p) && filter(v, p) && (!best || v.cost(p) < best.cost(p))) best = v;
  return best ?? fail('E601', 'no kernel variant accepts this convolution', {
    node: origin, found: `${p.kind} W${p.weightBits ?? 32}A${p.activationBits ?? 32}`, expected: variants.map((v) => v.name).join(', '),
  });
}
