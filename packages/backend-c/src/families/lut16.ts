/**
 * Portable C for several outputs at once: a machine word is a row of counters, one for each of 4 to 16 neighbouring outputs, so that
 * one addition serves them all. Here four one-bit weights index a table of the 16 sums of four codes.
 */
import { type ConvParams, convK, isPointwise } from '@bitloom/kernel-spec';
import { type Bits, weightAlpha, weightBeta } from '@bitloom/numerics';
import { type CPart, type CVariant, intBits, positionsOf, resultOf, suffix, template, upto } from '../variant.js';

// ---- the loops that this family shares with mul64

interface LanesView {
  symbol: string;
  how: string;
  w: Bits;
  a: Bits;
  alpha: number;
  beta: number;
  type: string;
  epilogue: string;
  /** C expression: bytes of one plane of one channel's weights. */
  row: string;
  planes: number;
  /** Codes that go with one byte of weights. */
  codes: number;
  /** Words that the codes of one byte of weights are turned into. */
  words: number;
  /** Bytes of weights turned at a time; a multiple of `unroll`. */
  chunk: number;
  unroll: number;
  /** A byte of weights that are all 1. */
  one: number;
  fill: string;
  dot: string;
  /** Whether there are functions for twice as many outputs. */
  two: boolean;
  block: number;
}
const renderLanes = template<LanesView>('lut16.c.hbs');
const renderRing = template<object>('lut16_ring.c.hbs');

/** Channels whose sums are kept side by side. */
const BLOCK = 256;
export const ringPart: CPart = { name: 'ring', render: () => renderRing({}) };

/** Bytes of the rows of codes that a row of outputs needs. */
export function ringBytes(p: ConvParams): number {
  const reach = (p.kW - 1) * p.dilW;
  const count = isPointwise(p) ? Math.min(16, p.outH * p.outW) : p.outW;
  return ((p.kH - 1) * p.dilH + 1) * p.inC * Math.min(reach + 1, p.strideW) * (Math.ceil(count / 16) * 16 + Math.floor(reach / p.strideW));
}

type Lanes = Pick<LanesView, 'codes' | 'words' | 'chunk' | 'unroll'>;
/** Bytes of scratch on 64-bit machines, which need the most. */
export const lanesScratch = (p: ConvParams, { codes, words, chunk, unroll }: Lanes): number =>
  Math.min(chunk, Math.ceil(Math.ceil(convK(p) / codes) / unroll) * unroll) * words * 8 + (Math.min(p.outC / p.groups, BLOCK) + 1) * 64 + chunk + ringBytes(p);

/** Passes over the weights, of `pixels` outputs each; what is left at the end of a row may pass with half of them. */
export function lanesPasses(p: ConvParams, pixels: number, half: number): number {
  const rows = p.batch * (isPointwise(p) ? 1 : p.outH);
  const count = isPointwise(p) ? p.outH * p.outW : p.outW;
  const rest = count % pixels;
  return rows * (Math.floor(count / pixels) + (rest === 0 ? 0 : rest * 2 <= pixels ? half : 1));
}

/** Sums of 32 bits do not reach their neighbours. */
export const lanesFit = (p: ConvParams): boolean => p.kind === 'int' && convK(p) * (2 ** p.weightBits! - 1) * (2 ** p.activationBits! - 1) < 2 ** 32;

export function lanesCode(p: ConvParams, symbol: string, own: Omit<LanesView, 'symbol' | 'w' | 'a' | 'alpha' | 'beta' | 'type' | 'epilogue' | 'block'>): string {
  const bits = intBits(p);
  return renderLanes({ symbol, ...bits, ...resultOf(p), alpha: weightAlpha(bits.w), beta: weightBeta(bits.w), block: BLOCK, ...own });
}

// ---- look-up tables

interface Tables {
  /** 16 bits for a sum instead of 8. */
  readonly wide: boolean;
  /** Bytes of a weight plane, two look-ups each, after which sums of 8 bits move to 16 bits. */
  readonly flush: number;
  readonly unroll: number;
  readonly chunk: number;
  /** Planes that one sum of 16 bits takes up: each is doubled once more than the next. */
  readonly pass: number;
}
function tablesOf(a: Bits): Tables {
  const top = 2 ** a - 1;
  const wide = a >= 5;
  const flush = wide ? 32 : [28, 8, 4, 2][a - 1];
  const chunk = a === 1 ? 28 : 32;
  let pass = 1;
  while (pass < 7 && chunk * 8 * (2 ** (pass + 1) - 1) * top <= 65535) pass++;
  return { wide, flush, unroll: Math.min(4, flush), chunk, pass };
}
const lanesOf = ({ chunk, unroll }: Tables): Lanes => ({ chunk, unroll, codes: 8, words: 64 });

interface TileView {
  id: string;
  a: Bits;
  wide: boolean;
  pixels: string;
  words: number;
  word: number[];
  bound: string;
  pass: number;
  flush: number;
  unroll: number;
  loop: boolean;
  steps: { byte: number; low0: number; low1: number; high0: number; high1: number; adds: { sum: string; at: number; nibble: string }[] }[];
  sums: { word: number; at: number }[];
}
const renderTiles = template<{ a: Bits; tiles: TileView[] }>('lut16_tile.c.hbs');

function tileView(a: Bits, words: number): TileView {
  const { wide, flush, unroll, chunk, pass } = tablesOf(a);
  const top = 2 ** a - 1;
  const table = (byte: number, nibble: number, word: number): number => (byte * 2 + nibble) * words + word;
  return {
    id: `a${a}x${wide ? 1 : words}`, a, wide, words, pass, flush, unroll,
    pixels: words === 2 && !wide ? '2 * bl_lane_count' : 'bl_lane_count',
    word: upto(words),
    bound: `${wide ? '' : `Sums of 8 bits reach ${flush} * 2 * 4 * ${top} = ${flush * 8 * top}. `}Sums of 16 bits reach ${chunk} * 8 * ${2 ** pass - 1} * ${top} = ${chunk * 8 * (2 ** pass - 1) * top}.`,
    loop: flush > unroll,
    steps: upto(unroll).map((byte) => ({
      byte, low0: table(byte, 0, 0), low1: table(byte, 0, 1), high0: table(byte, 1, 0), high1: table(byte, 1, 1),
      adds: [`p[${byte}] & 15`, `p[${byte}] >> 4`].flatMap((nibble, i) => upto(words).map((word) => ({ sum: `s${word}`, at: table(byte, i, word), nibble }))),
    })),
    sums: wide ? [{ word: 0, at: 0 }] : upto(words).map((word) => ({ word, at: word * 4 })),
  };
}
const tilePart = (a: Bits): CPart => ({ name: `lut16_a${a}`, render: () => renderTiles({ a, tiles: tablesOf(a).wide ? [tileView(a, 2)] : [tileView(a, 2), tileView(a, 1)] }) });

const symbolOf = (p: ConvParams): string => `lut16_w${p.weightBits}a${p.activationBits}_${suffix(p)}`;

/** For a byte of a weight plane and a pass, by the width of codes. */
const LOOKUP_NS = [0.8, 0.9, 0.9, 1.1, 0.75, 0.75, 0.75, 0.75] as const;

export const lut16: CVariant = {
  name: 'lut16', kernel: 'lut', isa: 'portable', signature: 'int', needs: [],
  parts: (p) => [ringPart, tilePart(intBits(p).a)],
  accepts: (p) => lanesFit(p) && p.weightBits! < 8,
  packing: () => 'planes',
  prepared: () => 0,
  scratch: (p) => lanesScratch(p, lanesOf(tablesOf(intBits(p).a))),
  symbol: symbolOf,
  cost: (p) => {
    const { w, a } = intBits(p);
    const tables = tablesOf(a);
    const bytes = Math.ceil(convK(p) / 8 / tables.unroll) * tables.unroll;
    const filled = Math.ceil(p.outC / p.groups / BLOCK) * p.groups;
    return lanesPasses(p, tables.wide ? 8 : 16, tables.wide ? 1 : 0.65) * bytes * (filled * 27 + p.outC * w * LOOKUP_NS[a - 1]) + positionsOf(p) * p.outC * 2.5;
  },
  render: (p) => {
    const { a, w } = intBits(p);
    const tables = tablesOf(a);
    return lanesCode(p, symbolOf(p), {
      ...lanesOf(tables), how: 'by tables of the 16 sums of four codes, which four one-bit weights index', row: '(k + 7) / 8', planes: w, one: 255,
      fill: `bl_lut_fill_a${a}`, dot: `bl_lut_dot_a${a}`, two: !tables.wide,
    });
  },
};
