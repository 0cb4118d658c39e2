/**
 * 3×3 convolutions of integers by Winograd's F(2×2, 3×3): 16 products for 2×2 outputs in place of 36 (Lavin & Gray, "Fast Algorithms
 * for Convolutional Neural Networks", 2015, section 4.1). With weights transformed by 2G everything is an integer: inputs are below
 * 4·255 and weights at most 9·128 in size, both i16, and sums are four times those of the convolution, exactly, modulo 2^32; which is
 * enough as long as those are below 2^29.
 */
import { alignUp } from '@bitloom/codegen';
import { type ConvParams, convK } from '@bitloom/kernel-spec';
import { weightAlpha, weightBeta } from '@bitloom/numerics';
import { FIELDS, SLACK, type Field, bytesFunction, d, descriptorOf, geometry, paddedRow, scratchOffsets, unpackFunction } from './descriptor.js';
import { coverRow, epilogueFunction } from './driver.js';
import { integerPacking } from './family.js';
import { dotTile } from './families/dot.js';
import { range, rendered } from './render.js';
import type { ConvCode, WasmVariant } from './variants.js';

/** Channels of a block, and pixels of tiles of the multiplication. */
const CHANNELS = 8;
const PIXELS = [4, 3, 2, 1] as const;
/** Tiles that share a pass over the weights, if there are as many. */
const BLOCK_TILES = 48;
/** 9·1024 products of 255·128 are below 2^29. */
const MAX_CHANNELS = 1024;

/** Blocks of rows of tiles in an image. */
const blocksOf = (tileRows: number, width: number): number => Math.max(1, Math.ceil(tileRows / Math.max(1, Math.round(BLOCK_TILES / Math.max(width, 1)))));

function numbersOf(p: ConvParams): {
  readonly values: Partial<Record<Field, number>>;
  readonly scratch: Record<'ring' | 'stage' | 'segs' | 'acc' | 'totals' | 'codes', number>;
  readonly tiles: readonly number[];
} {
  const { columns, values } = geometry(p);
  const width = Math.ceil(p.outW / 2);
  const tileRows = Math.ceil(p.outH / 2);
  const rows = Math.max(1, Math.ceil(tileRows / blocksOf(tileRows, width)));
  const tiles = rows * width;
  const steps = Math.ceil(p.inC / 2);
  // Loads of eight channels, and the second output column of the last tile, go past the end of a row.
  const ringPitch = alignUp((columns + 1) * p.inC + SLACK, SLACK);
  const xs = alignUp(p.inC, 8) * 2;
  const runBytes = tiles * xs + SLACK;
  const cutBytes = tiles * CHANNELS * 4 + SLACK;
  const columnSumsPitch = 2 * width * CHANNELS * 4;
  return {
    tiles: [coverRow(tiles, PIXELS), coverRow((tileRows % rows) * width, PIXELS)].flat(),
    scratch: {
      ring: (2 * rows + 2) * ringPitch, stage: 16 * runBytes, segs: 16 * 4, acc: 16 * cutBytes, totals: 2 * rows * columnSumsPitch, codes: convK(p) + SLACK,
    },
    values: {
      ...values, width, rows, runs: tileRows, ringRows: 2 * rows + 2, ringPitch, runBytes, cutBytes, columnSumsPitch, xs, steps,
      blockBytes: steps * 32, constFactor: -p.xZero,
    },
  };
}

/** Combinations of four values by Bᵀ. */
const INPUT = [{ op: 'sub', a: 0, b: 2 }, { op: 'add', a: 1, b: 2 }, { op: 'sub', a: 2, b: 1 }, { op: 'sub', a: 1, b: 3 }] as const;

function inputTransform(): ReturnType<typeof rendered> {
  const four = range(4);
  const column = (j: number): object => ({ loads: four, results: INPUT.map((r, i) => ({ ...r, to: 4 * i + j })) });
  return rendered('winograd_input', 'winograd_input', {
    d, four, sixteen: range(16), first: [column(0), column(1)], second: [column(2), column(3)],
    outputs: four.flatMap((i) => INPUT.map(({ op, a, b }) => ({ op, a: 4 * i + a, b: 4 * i + b }))),
    moves: four.flatMap((i) => [0, 1].map((j) => ({ to: 4 * i + j, from: 4 * i + j + 2 }))),
  });
}

function outputTransform(): ReturnType<typeof rendered> {
  const four = range(4);
  return rendered('winograd_output', 'winograd_output', {
    d, four,
    columns: four.map((column) => ({
      column, rows: four.map((row) => ({ row, offset: `(i32.mul (local.get $plane) (i32.const ${4 * row + column}))` })),
    })),
    stores: [{ v: 's', at: '(local.get $acc)' }, { v: 'u', at: '(i32.add (local.get $acc) (local.get $pitch))' }],
  });
}

/** 2G of three values. */
function weightTransform([a, b, c]: readonly string[]): string[] {
  const get = (n: string): string => `(local.get $${n})`;
  const double = (n: string): string => `(i32.shl ${get(n)} (i32.const 1))`;
  const ends = `(i32.add ${get(a)} ${get(c)})`;
  return [double(a), `(i32.add ${ends} ${get(b)})`, `(i32.sub ${ends} ${get(b)})`, double(c)];
}

function codeOf(p: ConvParams): ConvCode {
  const bits = p.weightBits!;
  const [copy, fill, padded, unpack] = [bytesFunction(true, true), bytesFunction(true, false), paddedRow(true), unpackFunction(p)];
  const row = rendered('conv_row', 'conv_row_plain', { d, row: padded.name, copy: copy.name, convert: '', rowSums: '' });
  const epilogue = epilogueFunction(true, p, false);
  const tiles = PIXELS.map((n) => dotTile('i16', n, CHANNELS / 4));
  const [input, output] = [inputTransform(), outputTransform()];
  const tables = 4 * FIELDS.length;
  const outShift = p.output === 'codes' ? 0 : 2;
  const run = rendered('winograd', `winograd_${p.output}`, {
    d, row: row.name, input: input.name, output: output.name, epilogue: epilogue.name, outStep: CHANNELS << outShift,
    fullTiles: tables, lastTiles: tables + 4 * PIXELS.length,
    tiles: PIXELS.map((count, i) => ({ count, symbol: tiles[i].name, offset: 4 * i, accBytes: count * CHANNELS * 4 })),
  });
  const prepare = rendered('winograd_prepare', `winograd_prepare_w${bits}`, {
    d, unpack: unpack.name, alphaShift: weightAlpha(bits) - 1, beta: weightBeta(bits), nine: range(9),
    // Rows of the kernel first, so that g is 4×3.
    rows: range(3).flatMap((j) => weightTransform([`v${j}`, `v${3 + j}`, `v${6 + j}`]).map((value, i) => ({ name: `${i}${j}`, value }))),
    outputs: range(4).flatMap((i) => weightTransform([`g${i}0`, `g${i}1`, `g${i}2`])),
  });
  return {
    functions: [run, row, padded, copy, fill, input, output, epilogue, ...tiles, prepare, unpack],
    run: run.name, prepare: prepare.name, descriptorBytes: tables + 8 * PIXELS.length,
  };
}

const constsBytes = (p: ConvParams): number => alignUp(p.outC * 4, SLACK);
const blocksBytes = (p: ConvParams): number => Math.ceil(p.outC / CHANNELS) * 16 * Math.ceil(p.inC / 2) * 32;

/** Products at the rate of int8, weights from afar for each block of tiles, transforms of inputs and of outputs. */
function cost(p: ConvParams): number {
  const [tileRows, width] = [Math.ceil(p.outH / 2), Math.ceil(p.outW / 2)];
  const tiles = p.batch * tileRows * width;
  const far = blocksBytes(p) > 1 << 20 ? (p.batch * blocksOf(tileRows, width) * blocksBytes(p)) / 10 : 0;
  return (tiles * 16 * alignUp(p.inC, 2) * alignUp(p.outC, CHANNELS)) / 36 + tiles * (2 * alignUp(p.inC, 8) + 2.5 * p.outC) + far;
}

export const WINOGRAD: WasmVariant = {
  name: 'winograd__simd128',
  kernel: 'winograd',
  isa: 'simd128',
  accepts: (p) =>
    p.kind === 'int' && p.groups === 1 && p.kH === 3 && p.kW === 3 && p.inC <= MAX_CHANNELS &&
    p.strideH === 1 && p.strideW === 1 && p.dilH === 1 && p.dilW === 1,
  cost,
  packing: integerPacking,
  scratch: (p, part = p) => scratchOffsets(numbersOf(part).scratch).bytes,
  prepared: (p) => constsBytes(p) + blocksBytes(p) + SLACK,
  symbol: (p) => `winograd_w${p.weightBits}__simd128`,
  code: codeOf,
  descriptor: (p, a, part = p) => {
    const n = numbersOf(part);
    return descriptorOf(n.values, scratchOffsets(n.scratch).at, constsBytes(p), a, n.tiles);
  },
};
