/**
 * Relaxed dots of i8 and i7, 16 products an instruction: `i16x8.relaxed_dot_i8x16_i7x16_s` adds them up in pairs to i16, of which a
 * few are added up before they move to i32; `i32x4.relaxed_dot_i8x16_i7x16_add_s` adds fours to i32, one instruction on processors
 * with AVX-VNNI or SDOT, three elsewhere. Engines agree on either as long as the second operand's top bits are clear and pairs fit
 * i16, which they do: 2·128·127 < 2^15.
 * Activations below 8 bits are the i7 operand and signed weights the i8 one; 8-bit activations are centred (x − 128) and the i8
 * operand, unsigned weight codes the i7 one. Where both have 8 bits, an activation is multiplied in two parts, x mod 128 and x div 128.
 */
import type { ConvParams } from '@bitloom/kernel-spec';
import { type Bits, weightAlpha, weightBeta } from '@bitloom/numerics';
import { type Family, type FamilyKernel, type WasmFunction, integerPacking, tileParams } from '../family.js';
import { range, rendered } from '../render.js';
import { loops, tileCost, tileGrid } from './tile.js';

const isSplit = (weightBits: number, activationBits: number): boolean => weightBits === 8 && activationBits === 8;
const isSwapped = (weightBits: number, activationBits: number): boolean => activationBits === 8 && weightBits < 8;

/** Sums of two products of magnitude at most `largest` that fit i16. */
function dot8FlushSteps(w: number, a: number): number {
  const largest = isSwapped(w, a) ? 128 * (2 ** w - 1) : Math.max(2 ** (w - 1), 1) * (2 ** a - 1);
  return Math.floor(32767 / (2 * largest));
}

interface Dot8Shape {
  readonly weightBits: Bits;
  readonly activationBits: Bits;
  /** Adds up in i32 at once. */
  readonly wide: boolean;
  /** Vectors of four channels in a tile. */
  readonly width: number;
  readonly pixels: readonly number[];
}

/** Dots of four elements in a step. */
const quadsPerStep = (s: Dot8Shape): 1 | 2 => (s.wide || dot8FlushSteps(s.weightBits, s.activationBits) > 1 ? 2 : 1);

const symbolOf = (s: Dot8Shape): string => `dot8${s.wide ? '_add' : ''}_w${s.weightBits}a${s.activationBits}_${4 * s.width}`;

function tile(s: Dot8Shape, pixels: number): WasmFunction {
  const { weightBits: w, activationBits: a, width } = s;
  const grid = tileGrid(width, pixels);
  const quads = quadsPerStep(s);
  const [split, swapped] = [isSplit(w, a), isSwapped(w, a)];
  const parts = split ? 2 : 1;
  // Sums in i32 need no flush, but chains of additions long enough to hide the latency of about five cycles.
  const flushUnits = s.wide ? (pixels === 1 ? 2 : 1) : Math.floor(dot8FlushSteps(w, a) / quads);
  const chains = s.wide ? Math.max(1, Math.floor(4 / (pixels * parts))) : 1;
  const sum = (name: string, chain: number): string => (chain ? `${name}_${chain}` : name);
  const operands = (slot: number): string => (swapped ? [`t`, `w${slot}`] : [`w${slot}`, 't']).map((v) => `(local.get $${v})`).join(' ');
  const columns = grid.columns.flatMap((c) => range(parts).map((part) => ({
    pixel: c.pixel, part, cells: c.cells.map(({ name, slot }) => ({ name: part ? `${name}_top` : name, wide: s.wide, slot, operands: operands(slot) })),
  })));
  const cells = columns.flatMap((c) => c.cells);
  return rendered('dot8', `tile_${symbolOf(s)}x${pixels}`, {
    ...grid,
    cells,
    wide: s.wide,
    split,
    sums: cells.flatMap(({ name }) => range(chains).map((c) => sum(name, c))),
    joins: [
      ...cells.flatMap(({ name }) => range(chains).slice(1).map((c) => ({ to: `l${name}`, from: `l${sum(name, c)}`, shift: 0 }))),
      ...(split ? grid.cells.map(({ name }) => ({ to: `l${name}`, from: `l${name}_top`, shift: 7 })) : []),
    ],
    tileParams,
    channels: 4 * width,
    flushUnits,
    loops: loops(flushUnits, 1, (units) => ({
      xStep: 4 * parts * quads * units,
      wStep: 16 * width * quads * units,
      quads: range(quads * units).map((i) => ({
        chain: i % chains ? `_${i % chains}` : '',
        vectors: range(width).map((slot) => ({ slot, offset: 16 * (i * width + slot) })),
        columns: columns.map((c) => ({ ...c, xOffset: 4 * (i * parts + c.part) })),
      })),
    })),
    rows: grid.columns.map(({ cells }) => ({ words: cells.map(({ name, slot }) => ({ name, offset: 16 * slot })) })),
  });
}

function dot8Kernel(s: Dot8Shape): FamilyKernel {
  const { weightBits: w, activationBits: a, width } = s;
  const channels = 4 * width;
  const [split, swapped] = [isSplit(w, a), isSwapped(w, a)];
  const quads = quadsPerStep(s);
  const [alpha, beta] = swapped ? [1, 0] : [weightAlpha(w), weightBeta(w)];
  return {
    symbol: symbolOf(s),
    channels,
    pixels: s.pixels,
    tiles: s.pixels.map((p) => tile(s, p)),
    step: 4 * quads,
    grain: split ? 4 : 1,
    grainBytes: split ? 8 : 1,
    maxSteps: Infinity,
    blockBytes: (steps) => steps * 16 * width * quads,
    convert: split ? rendered('split_codes', 'split_codes', {}) : swapped ? rendered('centre_codes', 'centre_codes', {}) : null,
    place: rendered('place_bytes', `place_bytes_${alpha}_${beta}_${channels}`, { channels, alpha, beta, quadBytes: 16 * width }),
    unsigned: swapped,
    offset: swapped ? 128 : 0,
  };
}

/** Two vectors of weights, an activation in turn, and twelve sums fill the 15 registers of x86-64. */
const pixelsOf = (wide: boolean, p: ConvParams): number[] =>
  !wide ? [4, 3, 2, 1] : isSplit(p.weightBits!, p.activationBits!) ? [3, 2, 1] : [6, 5, 4, 3, 2, 1];

/** Products a ns, the wide ones with AVX-VNNI. */
const rate = (wide: boolean, p: ConvParams): number => (wide ? (isSplit(p.weightBits!, p.activationBits!) ? 52 : 109) : 77 / (1 + 1 / dot8FlushSteps(p.weightBits!, p.activationBits!)));

export const dot8Families: readonly Family[] = [true, false].map((wide) => ({
  name: wide ? 'dot8_add__relaxed' : 'dot8__relaxed', kernel: 'dot8', isa: 'relaxed',
  accepts: (p) => p.kind === 'int' && (wide || p.weightBits! < 8 || p.activationBits! < 8),
  cost: (p) => tileCost(p, 8, rate(wide, p), 0.02),
  packing: integerPacking,
  specialise: (p) => dot8Kernel({ weightBits: p.weightBits!, activationBits: p.activationBits!, wide, width: 2, pixels: pixelsOf(wide, p) }),
}));
