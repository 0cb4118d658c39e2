/**
 * One-bit products by `and`, counted through carry-save adders (Harley and Seal; Muła, Kurz, Lemire, arXiv 1611.07612) in lanes of
 * channels: a count of bits, slow without an instruction of its own, is due only once in eight.
 */
import { type Family, type FamilyKernel, type WasmFunction, tileParams } from '../family.js';
import { range, rendered } from '../render.js';
import { placePlanes } from './planes.js';
import { tileCost } from './tile.js';

interface BitserialShape {
  readonly weightBits: number;
  readonly activationBits: number;
}

/** Blocks of eight bytes, each adding up to 8, that a byte can count. */
const FLUSH_BLOCKS = 31;
/** Steps of eight elements until u16 sums, Σ u·x, may overflow. */
const groupUnits = (w: number, a: number): number => Math.floor(65535 / (8 * (2 ** w - 1) * (2 ** a - 1)));

/** The tree: pairs of inputs (of which there are eight) or carries, the sum they go into, and the carry that comes of it. */
const TREE = [
  ['ones', 't0', 0], ['ones', 't1', 2], ['twos', 'f0', null],
  ['ones', 't0', 4], ['ones', 't1', 6], ['twos', 'f1', null], ['fours', 'c', null],
] as const;

function tile({ weightBits: w, activationBits: a }: BitserialShape): WasmFunction {
  const [wUnit, xUnit] = [16 * w, 16 * a];
  return rendered('bitserial', `tile_bitserial_w${w}a${a}`, {
    tileParams,
    weightBits: w,
    activationBits: a,
    flushBlocks: FLUSH_BLOCKS,
    groupUnits: groupUnits(w, a),
    wUnit,
    xUnit,
    wBlock: 8 * wUnit,
    xBlock: 8 * xUnit,
    pairs: range(w).flatMap((i) => range(a).map((j) => ({
      w: 16 * i,
      x: 16 * j,
      shift: i + j,
      adders: TREE.map(([sum, carry, input]) => {
        const loads = input === null ? {} : { w0: input * wUnit + 16 * i, w1: (input + 1) * wUnit + 16 * i, x0: input * xUnit + 16 * j, x1: (input + 1) * xUnit + 16 * j };
        const from = sum === 'fours' ? 'f' : 't';
        return { sum, carry, load: input !== null, from0: `${from}0`, from1: `${from}1`, ...loads };
      }),
    }))),
  });
}

/** Codes to bits, planes side by side. */
const convertPlanes = (bits: number): WasmFunction =>
  rendered('convert_planes', `convert_planes_a${bits}`, {
    bits,
    first: 8 - bits,
    step: 32 * bits,
    planes: range(bits).map((i) => ({ low: 16 * (bits - 1 - i), high: 16 * (2 * bits - 1 - i), more: i + 1 < bits })),
  });

function bitserialKernel(s: BitserialShape): FamilyKernel {
  const { weightBits: w, activationBits: a } = s;
  return {
    symbol: `bitserial_w${w}a${a}`,
    channels: 16,
    pixels: [1],
    tiles: [tile(s)],
    step: 8,
    grain: 8,
    grainBytes: 16 * a,
    maxSteps: groupUnits(w, a),
    blockBytes: (steps) => steps * 16 * w,
    convert: convertPlanes(a),
    place: placePlanes(w, 16, 8),
    unsigned: true,
    offset: 0,
  };
}

export const bitserialFamilies: readonly Family[] = [{
  name: 'bitserial__simd128', kernel: 'bitserial', isa: 'simd128',
  // Work is in proportion to pairs of planes.
  accepts: (p) => p.kind === 'int' && p.weightBits! * p.activationBits! <= 4,
  cost: (p) => tileCost(p, 16, 165 / (p.weightBits! * p.activationBits!), 0.08 * p.activationBits!),
  packing: () => 'planes',
  specialise: (p) => bitserialKernel({ weightBits: p.weightBits!, activationBits: p.activationBits! }),
}];
