/** Portable C: one multiplication of a weight with a machine word that holds the codes of several outputs, for 8-bit weights and depthwise. */
import { type ConvParams, convK } from '@bitloom/kernel-spec';
import type { Bits } from '@bitloom/numerics';
import { type CPart, type CVariant, intBits, isDepthwise, packingOf, positionsOf, resultOf, suffix, template, upto } from '../variant.js';
import { lanesCode, lanesFit, lanesPasses, lanesScratch, ringBytes, ringPart } from './lut16.js';

interface TileView {
  id: string;
  a: Bits;
  wide: boolean;
  field: number;
  words: number;
  flush: number;
  bound: string;
}
const renderTile = template<TileView>('mul64_tile.c.hbs');

/** Weights turned at a time. */
const CHUNK = 256;

function tileView(a: Bits): TileView {
  const product = 255 * (2 ** a - 1);
  const flush = Math.min(CHUNK, Math.floor(65535 / product));
  // Below eight products, moving sums to 32 bits costs more than the wider fields.
  const wide = flush < 8;
  return {
    id: `a${a}`, a, wide, field: wide ? 32 : 16, words: wide ? 4 : 2, flush,
    bound: wide ? '' : `Sums of 16 bits reach ${flush} * ${product} = ${flush * product}.`,
  };
}
const tilePart = (a: Bits): CPart => ({ name: `mul64_a${a}`, render: () => renderTile(tileView(a)) });
const lanesOf = (a: Bits) => ({ codes: 1, words: tileView(a).words, chunk: CHUNK, unroll: 1 });
const symbolOf = (p: ConvParams): string => `mul64_a${p.activationBits}_${suffix(p)}`;

export const mul64: CVariant = {
  name: 'mul64', kernel: 'dual', isa: 'portable', signature: 'int', needs: [],
  parts: (p) => [ringPart, tilePart(intBits(p).a)],
  accepts: (p) => lanesFit(p) && p.weightBits === 8,
  packing: () => 'bytes',
  prepared: () => 0,
  scratch: (p) => lanesScratch(p, lanesOf(intBits(p).a)),
  symbol: symbolOf,
  cost: (p) => {
    const filled = Math.ceil(p.outC / p.groups / 256) * p.groups;
    return lanesPasses(p, 8, 1) * convK(p) * (filled * 2.5 + p.outC * (tileView(intBits(p).a).wide ? 1.25 : 0.7)) + positionsOf(p) * p.outC * 2.5;
  },
  render: (p) => {
    const { a } = intBits(p);
    return lanesCode(p, symbolOf(p), {
      ...lanesOf(a), how: `${tileView(a).field} bits of a word for each`, row: 'k', planes: 1, one: 129, fill: `bl_mul_fill_a${a}`, dot: `bl_mul_dot_a${a}`, two: false,
    });
  },
};

// ---- depthwise

interface DepthwiseView {
  symbol: string;
  w: Bits;
  wide: boolean;
  field: number;
  words: number;
  sums: number[];
  bound: string;
  bias: string;
  planes: boolean;
  type: string;
  epilogue: string;
}
const renderDepthwise = template<DepthwiseView>('mul64_depthwise.c.hbs');

/** The largest magnitude of a dot product. */
const reach = (p: ConvParams): number => convK(p) * 2 ** (p.weightBits! - 1) * (2 ** p.activationBits! - 1);
const isWide = (p: ConvParams): boolean => reach(p) > 32767;
const depthwiseSymbol = (p: ConvParams): string => `mul64_depthwise${isWide(p) ? '' : '16'}_w${p.weightBits}_${suffix(p)}`;

export const mul64Depthwise: CVariant = {
  name: 'mul64_depthwise', kernel: 'depthwise', isa: 'portable', signature: 'int', needs: ['unpack'],
  parts: () => [ringPart],
  accepts: (p) => p.kind === 'int' && isDepthwise(p) && reach(p) < 2 ** 31,
  packing: packingOf,
  prepared: () => 0,
  scratch: (p) => p.kH * p.kW * 8 + (p.weightBits === 8 ? 0 : p.inC * p.kH * p.kW + 8) + ringBytes(p),
  symbol: depthwiseSymbol,
  cost: (p) => lanesPasses(p, 8, 1) * p.inC * (8 + convK(p) * (isWide(p) ? 4.5 : 2.8)) + positionsOf(p) * p.outC * 2.5,
  render: (p) => {
    const wide = isWide(p);
    return renderDepthwise({
      symbol: depthwiseSymbol(p), w: intBits(p).w, wide, field: wide ? 32 : 16, words: wide ? 4 : 2, sums: upto(wide ? 4 : 2),
      bound: wide ? '' : 'The choice of this kernel keeps sums below 2^15.',
      bias: wide ? '(bl_lanes)UINT64_C(0x8000000080000000)' : '(bl_lanes)UINT64_C(0x8000800080008000)', planes: p.weightBits !== 8, ...resultOf(p),
    });
  },
};
