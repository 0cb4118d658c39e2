/**
 * Two channels' weights in one i16, u0 + u1·2^s, multiplied by pairs of activations: i32 lanes hold Σ u0·x + 2^s·Σ u1·x, that is
 * 16 products an instruction where plain i16 have eight. The lower field is moved out before it can overflow into the upper one.
 */
import { type FamilyKernel, type WasmFunction, tileParams } from '../family.js';
import { range, rendered } from '../render.js';
import { loops, tileGrid } from './tile.js';

/** Position of the upper weight: u0 + u1·2^s ≤ (2^W − 1)·(2^(15 − W) + 1) < 2^15 for W ≤ 7. */
const fieldShift = (weightBits: number): number => 15 - weightBits;
/** Pairs of products, each pair at most 2·umax·amax, that fit the lower field. */
export const dualFlushPairs = (w: number, a: number): number => Math.floor((2 ** fieldShift(w) - 1) / (2 * (2 ** w - 1) * (2 ** a - 1)));
/** Steps of four products until the upper field, read as unsigned, is full: (Σ u1·x)·2^s + the lower field < 2^32. */
const groupUnits = (w: number, a: number): number => Math.floor((2 ** (32 - fieldShift(w)) - 1) / (4 * (2 ** w - 1) * (2 ** a - 1)));

export interface DualShape {
  readonly weightBits: number;
  readonly activationBits: number;
  /** Vectors of eight channels in a tile. */
  readonly width: number;
  readonly pixels: readonly number[];
}

function tile(s: DualShape, pixels: number): WasmFunction {
  const { weightBits: w, activationBits: a, width } = s;
  const shift = fieldShift(w);
  const grid = tileGrid(width, pixels);
  const flushUnits = Math.floor(dualFlushPairs(w, a) / 2);
  return rendered('dual', `tile_dual_w${w}a${a}_${8 * width}x${pixels}`, {
    ...grid,
    tileParams,
    channels: 8 * width,
    shift,
    mask: 2 ** shift - 1,
    flushPairs: 2 * flushUnits,
    groupUnits: groupUnits(w, a),
    loops: loops(flushUnits, (units) => ({
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

/** u8 to i16. */
const widenCodes = (): WasmFunction => rendered('widen_codes', 'widen_codes', {});

export function dualKernel(s: DualShape): FamilyKernel {
  const { weightBits: w, activationBits: a, width } = s;
  const channels = 8 * width;
  return {
    symbol: `dual_w${w}a${a}_${channels}`,
    channels,
    pixels: s.pixels,
    tiles: s.pixels.map((p) => tile(s, p)),
    step: 4,
    grain: 1,
    grainBytes: 2,
    maxSteps: groupUnits(w, a),
    blockBytes: (steps) => steps * 32 * width,
    convert: widenCodes(),
    place: rendered('place_dual', `place_dual_w${w}_${channels}`, { channels, shift: fieldShift(w), pairBytes: 16 * width }),
    unsigned: true,
    offset128: false,
  };
}
