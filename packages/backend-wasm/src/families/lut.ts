/**
 * Tables of partial sums: four one-bit weights of a channel index the 16 sums of subsets of four activations. One swizzle does
 * 64 one-bit products; weight planes are joined by shifts. Any activation below 7 bits will do, but sums move from u8 to u16 every
 * few steps as these grow.
 */
import type { ConvParams } from '@bitloom/kernel-spec';
import { countingOf, storeCodes } from '../epilogue.js';
import { type Family, type FamilyKernel, type WasmFunction, countingParams, integerPacking, tileParams } from '../family.js';
import { interleaved, range, rendered } from '../render.js';
import { placePlanes } from './planes.js';
import { channelsOfGroup, loops, tileCost } from './tile.js';

const shuffle = (lanes: readonly number[]): string => lanes.join(' ');
const interleave = (width: number, high: boolean, other: number): string => shuffle(interleaved(width, high, other));

/** Codes to tables; constant shuffles that are single instructions on x86-64. */
const tables = (): WasmFunction =>
  rendered('lut_tables', 'lut_tables', {
    quarters: [false, true].map((upper, q) => ({
      pairs: interleave(2, upper, 16),
      tables: [false, true].map((high, t) => ({
        offset: 32 * q + 16 * t,
        twice: interleave(1, high, 0),
        low: shuffle(range(16).map((i) => 8 * t + (i % 4))),
        high: interleave(2, true, 0),
      })),
    })),
  });

/** Largest sum of u8 and u16 lanes. */
const [U8, U16] = [255, 65535];

interface LutShape {
  readonly relaxed: boolean;
  readonly weightBits: number;
  readonly activationBits: number;
  readonly channels: 16 | 32;
  /** Vectors of weights in one pass. */
  readonly width: 1 | 2;
  readonly pixels: readonly number[];
}

/** Tables between moves to u16, each of which adds at most 4·amax. */
const flushTables = (activationBits: number): number => Math.floor(U8 / (4 * (2 ** activationBits - 1)));
/** Tables until joined u16 sums, Σ u·x, may overflow. */
const groupTables = (w: number, a: number): number => Math.floor(U16 / (4 * (2 ** a - 1) * (2 ** w - 1)));

function tile(s: LutShape, pixels: number, thresholds = 0): WasmFunction {
  const halves = s.channels / 16;
  // Vectors in the order of memory: [half][plane].
  const vectors = range(halves * s.weightBits).map((i) => ({ half: Math.floor(i / s.weightBits), plane: i % s.weightBits, offset: 16 * i }));
  const stepBytes = 16 * vectors.length;
  const swizzle = s.relaxed ? 'i8x16.relaxed_swizzle' : 'i8x16.swizzle';
  const passes = range(Math.ceil(vectors.length / s.width)).map((p) => {
    const of = vectors.slice(p * s.width, (p + 1) * s.width).map((v, slot) => ({ ...v, slot }));
    const columns = range(pixels).map((pixel) => ({
      pixel,
      cells: of.map((v) => ({ name: `${v.slot}_${pixel}`, slot: v.slot, plane: v.plane, join: `${v.half}_${pixel}`, swizzle })),
    }));
    return {
      columns,
      cells: columns.flatMap((c) => c.cells),
      loops: loops(flushTables(s.activationBits), 2, (steps) => ({
        xStep: 16 * steps,
        wStep: stepBytes * steps,
        tables: range(steps).map((t) => ({
          xOffset: 16 * t,
          vectors: of.map((v) => ({ slot: v.slot, offset: t * stepBytes + v.offset })),
          columns,
        })),
      })),
    };
  });
  const slots = range(Math.min(s.width, vectors.length));
  return rendered('lut', `tile_lut_w${s.weightBits}a${s.activationBits}_${s.channels}x${pixels}${thresholds ? `_thresholds${thresholds}` : ''}__${s.relaxed ? 'relaxed' : 'simd128'}`, {
    params: thresholds ? countingParams : tileParams,
    // Even bytes are eight channels, odd ones the next.
    counting: thresholds
      ? countingOf(thresholds, range(pixels).map((p) => range(halves).flatMap((h) => ['e', 'f'].map((name) => `${name}${h}_${p}`))), true, s.weightBits) : null,
    pixelCount: pixels,
    channels: s.channels,
    weightBits: s.weightBits,
    flushTables: flushTables(s.activationBits),
    groupTables: groupTables(s.weightBits, s.activationBits),
    pixels: range(pixels),
    morePixels: range(pixels).slice(1),
    wordSlots: slots,
    cellSlots: slots.flatMap((v) => range(pixels).map((p) => `${v}_${p}`)),
    joinSlots: range(halves).flatMap((h) => range(pixels).map((p) => `${h}_${p}`)),
    passes,
    results: range(pixels).map((p) => ({
      next: p + 1 < pixels,
      words: range(4 * halves).map((i) => ({
        offset: 16 * i,
        half: i % 2 ? 'high' : 'low',
        name: `${i % 4 < 2 ? 'e' : 'f'}${Math.floor(i / 4)}_${p}`,
      })),
    })),
  });
}

function lutKernel(s: LutShape): FamilyKernel {
  return {
    symbol: `lut${s.relaxed ? '_relaxed' : ''}_w${s.weightBits}a${s.activationBits}_${s.channels}`,
    channels: s.channels,
    pixels: s.pixels,
    tiles: s.pixels.map((p) => tile(s, p)),
    counting: (thresholds, steps) => (steps <= groupTables(s.weightBits, s.activationBits) ? [...s.pixels.map((p) => tile(s, p, thresholds)), storeCodes] : null),
    step: 4,
    grain: 4,
    grainBytes: 16,
    maxSteps: groupTables(s.weightBits, s.activationBits),
    blockBytes: (steps) => steps * s.weightBits * s.channels,
    convert: tables(),
    place: placePlanes(s.weightBits, s.channels, 4),
    unsigned: true,
    offset: 0,
  };
}

/** 32 channels share tables, unless half of them would be idle. */
const channelsOf = (p: ConvParams): 16 | 32 => ((channelsOfGroup(p) - 1) % 32 < 16 ? 16 : 32);

/** One-bit products a ns by activation bits: fewer where sums move to u16 often. */
const RATE: Readonly<Record<'simd128' | 'relaxed', readonly number[]>> = { simd128: [187, 181, 167, 162, 136, 90], relaxed: [300, 290, 267, 240, 183, 110] };

export const lutFamilies: readonly Family[] = (['relaxed', 'simd128'] as const).map((isa) => ({
  name: `lut__${isa}`, kernel: 'lut', isa,
  // More planes or larger activations take longer than multiplication.
  accepts: (p) => p.kind === 'int' && p.weightBits! <= 4 && p.activationBits! <= 6,
  cost: (p) => tileCost(p, channelsOf(p), RATE[isa][p.activationBits! - 1] / p.weightBits!, 0.15),
  packing: integerPacking,
  specialise: (p) => lutKernel({
    relaxed: isa === 'relaxed', weightBits: p.weightBits!, activationBits: p.activationBits!, channels: channelsOf(p),
    // Where sums move often, they all fit registers with one vector of weights.
    width: p.activationBits! <= 2 ? 2 : 1,
    pixels: [4, 3, 2, 1],
  }),
}));
