/**
 * Two channels' weights in one i16, v0 + v1·2^s, multiplied by pairs of activations: i32 lanes hold Σ v0·x + 2^s·Σ v1·x, that is
 * 16 products an instruction where plain i16 have eight. The lower field is moved out before it can overflow into the upper one. Its
 * products spread least, and it holds most of them, with signed weights and centred activations, x − 2^(A−1).
 */
import { type ConvParams, convK } from '@bitloom/kernel-spec';
import { type Bits, weightAlpha, weightBeta } from '@bitloom/numerics';
import { countingOf, storeCodes } from '../epilogue.js';
import { type Family, type FamilyKernel, type WasmFunction, countingParams, integerPacking, tileParams } from '../family.js';
import { range, rendered } from '../render.js';
import { channelsOfGroup, loops, tileCost, tileGrid } from './tile.js';

/** Position s of the upper weight: |v0 + v1·2^s| ≤ 2^(W−1)·(2^(15−W) + 1) < 2^15 for W from 2 to 7, and 2^14 + 1 for W = 1. */
const fieldShift = (weightBits: number): number => 15 - weightBits;

/** Least and largest product of a weight and an activation. */
function products(w: number, a: number): readonly [number, number] {
  const [lo, hi] = w === 1 ? [-1, 1] : [-(2 ** (w - 1)), 2 ** (w - 1) - 1];
  const c = 2 ** (a - 1);
  const corners = [lo * -c, lo * (c - 1), hi * -c, hi * (c - 1)];
  return [Math.min(...corners), Math.max(...corners)];
}

/** Sums of two products that the lower field can take, started so that it stays between 0 and 2^s − 1. */
function dualFlushPairs(w: number, a: number): number {
  const [least, largest] = products(w, a);
  return Math.floor((2 ** fieldShift(w) - 1) / (2 * (largest - least)));
}

/** Steps of four products between moves of the lower field. */
const flushUnitsOf = (w: number, a: number): number => Math.floor(dualFlushPairs(w, a) / 2);

/** Steps of four products until the i32 may overflow: |Σ v1·x| < 2^(31−s) − 1. */
function groupUnits(w: number, a: number): number {
  const [least, largest] = products(w, a);
  return Math.floor((2 ** (31 - fieldShift(w)) - 2) / (4 * Math.max(-least, largest)));
}

interface DualShape {
  readonly weightBits: Bits;
  readonly activationBits: Bits;
  /** Whether a call never moves the lower field but at the end. */
  readonly once: boolean;
  /** Vectors of eight channels in a tile. */
  readonly width: number;
  readonly pixels: readonly number[];
}

function tile(s: DualShape, pixels: number, thresholds = 0): WasmFunction {
  const { weightBits: w, activationBits: a, once, width } = s;
  const shift = fieldShift(w);
  const grid = tileGrid(width, pixels);
  const flushUnits = flushUnitsOf(w, a);
  return rendered('dual', `tile_dual_w${w}a${a}_${8 * width}x${pixels}${once ? '_once' : ''}${thresholds ? `_thresholds${thresholds}` : ''}`, {
    ...grid,
    once,
    params: thresholds ? countingParams : tileParams,
    counting: thresholds ? countingOf(thresholds, grid.columns.map((c) => c.cells.map(({ name }) => `a${name}`)), false, w) : null,
    channels: 8 * width,
    shift,
    mask: 2 ** shift - 1,
    bias: -2 * 2 * flushUnits * products(w, a)[0],
    flushPairs: 2 * flushUnits,
    groupUnits: groupUnits(w, a),
    loops: loops(flushUnits, 1, (units) => ({
      xStep: 8 * units,
      wStep: 32 * width * units,
      pairs: range(2 * units).map((i) => ({
        xOffset: 4 * i,
        vectors: range(width).map((slot) => ({ slot, offset: 16 * (i * width + slot) })),
        columns: grid.columns,
      })),
    })),
    rows: grid.columns.map(({ cells }) => ({
      words: cells.flatMap(({ name, slot }) => [{ name: `l${name}`, offset: 32 * slot }, { name: `a${name}`, offset: 32 * slot + 16 }]),
    })),
  });
}

/** u8 to i16, centred. */
const widenCodes = (offset: number): WasmFunction => rendered('widen_codes', `widen_codes_${offset}`, { offset });

function dualKernel(s: DualShape): FamilyKernel {
  const { weightBits: w, activationBits: a, width } = s;
  const channels = 8 * width;
  const offset = 2 ** (a - 1);
  const [alpha, beta] = [weightAlpha(w), weightBeta(w)];
  return {
    symbol: `dual_w${w}a${a}_${channels}${s.once ? '_once' : ''}`,
    channels,
    pixels: s.pixels,
    tiles: s.pixels.map((p) => tile(s, p)),
    counting: (thresholds, steps) => (steps <= groupUnits(w, a) ? [...s.pixels.map((p) => tile(s, p, thresholds)), storeCodes] : null),
    step: 4,
    grain: 1,
    grainBytes: 2,
    maxSteps: groupUnits(w, a),
    blockBytes: (steps) => steps * 32 * width,
    convert: widenCodes(offset),
    place: rendered('place_dual', `place_dual_w${w}_${channels}`, { channels, shift: fieldShift(w), alpha, beta, pairBytes: 16 * width }),
    unsigned: false,
    offset,
  };
}

const widthOf = (p: ConvParams): 1 | 2 => ((channelsOfGroup(p) - 1) % 16 < 8 && channelsOfGroup(p) < 32 ? 1 : 2);

export const dualFamilies: readonly Family[] = [{
  name: 'dual__simd128', kernel: 'dual', isa: 'simd128',
  accepts: (p) => p.kind === 'int' && p.weightBits! < 8 && dualFlushPairs(p.weightBits!, p.activationBits!) >= 2,
  // Four instructions for a flush beside two for each pair.
  cost: (p) => tileCost(p, 8 * widthOf(p), 80 / (1 + 2 / dualFlushPairs(p.weightBits!, p.activationBits!)), 0.05),
  packing: integerPacking,
  specialise: (p) => {
    const [w, a] = [p.weightBits!, p.activationBits!];
    return dualKernel({ weightBits: w, activationBits: a, once: convK(p) <= 4 * Math.min(flushUnitsOf(w, a), groupUnits(w, a)), width: widthOf(p), pixels: [4, 3, 2, 1] });
  },
}];
