/** Kernel variants: one table per backend, from which declarations, tests, benchmarks and dispatch are derived. */
import { fail } from '@bitloom/diagnostics';
import { type ConvParams, hasFewCodes } from '@bitloom/kernel-spec';
import type { PackingName } from './packing.js';

/** What reports call the kernel. */
export type KernelName = 'bitserial' | 'lut' | 'dual' | 'dot8' | 'swar' | 'int8' | 'winograd' | 'depthwise' | 'f32';

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
  /** Bytes of arena scratch during the call, or while a part of it is computed (see split.ts; the whole decides how). */
  scratch(p: ConvParams, part?: ConvParams): number;
  /**
   * Bytes in which the kernel keeps the weights in its own layout, filled once, before the first call, from the packed weights
   * (and from {@link preparedFrom} alone); 0 when it reads packed weights.
   */
  prepared(p: ConvParams): number;
  symbol(p: ConvParams): string;
}

/**
 * Parameters that prepared weights may depend on: calls that agree in them, in variant symbol and in weights share one region; with few codes, of which
 * thresholds are prepared, multipliers and offsets must be the same, too.
 */
export const preparedFrom = (p: ConvParams): readonly number[] => [p.outC, p.kH, p.kW, p.inC, p.groups, p.dilW, p.xZero, ...(hasFewCodes(p) ? [p.lo] : [])];

/** Restricts the choice, e.g. to force `bitserial` in tests. */
export type VariantFilter = (v: KernelVariant, p: ConvParams) => boolean;

/** Time in ns of one call of a variant: measured, or estimated by {@link KernelVariant.cost}. */
export type VariantCost = (v: KernelVariant, p: ConvParams) => number;

export interface RankedVariant<V extends KernelVariant = KernelVariant> {
  readonly variant: V;
  /** ns */
  readonly cost: number;
}

/** Times this close are as good as equal. */
const TIE = 1.05;

/**
 * Every variant that accepts the parameters, cheapest first; but plain `int8` goes before what is hardly faster: fewer kernels are less
 * code, and what a few percent of difference on one machine say is little. Ties go to the earlier row. @throws E601 when there is none
 */
export function rankVariants<V extends KernelVariant>(
  variants: readonly V[], p: ConvParams, origin: string, filter: VariantFilter = () => true, cost: VariantCost = (v) => v.cost(p),
): readonly [RankedVariant<V>, ...RankedVariant<V>[]] {
  const accepted = variants.filter((v) => v.accepts(p) && filter(v, p)).map((variant) => ({ variant, cost: cost(variant, p) }));
  accepted.sort((a, b) => a.cost - b.cost);
  const plain = accepted.findIndex((a) => a.variant.kernel === 'int8' && a.cost <= TIE * accepted[0].cost);
  if (plain > 0) accepted.unshift(...accepted.splice(plain, 1));
  const [first, ...rest] = accepted;
  return first ? [first, ...rest] : fail('E601', 'no kernel variant accepts this convolution', {
    node: origin, found: `${p.kind} W${p.weightBits ?? 32}A${p.activationBits ?? 32}`, expected: variants.map((v) => v.name).join(', '),
  });
}
