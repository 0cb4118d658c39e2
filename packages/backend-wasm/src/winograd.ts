/**
 * 3×3 convolutions of integers by Winograd's F(2×2, 3×3), F(4×4, 3×3) and F(5×5, 3×3): 16 products for 2×2 outputs in place of 36, 36
 * for 4×4 in place of 144, 49 for 5×5 in place of 225 (Lavin & Gray, "Fast Algorithms for Convolutional Neural Networks", 2015, sections
 * 4.1 and 4.3; the last one after Toom and Cook, with the points 0, ±1, ±2, 3 and ∞). Per output the last two have as many, but 14×14
 * outputs, which many networks have, are 9 tiles of 5×5 or 16 of 4×4.
 *
 * A tile of outputs is Aᵀ·[(G·w·Gᵀ) ⊙ (Bᵀ·x·B)]·A, x the raw codes c or less. Padding has the code of the zero point, and the constant
 * of a channel is −zero point · Σ w. Weights are transformed by a multiple of G, so that everything is an integer:
 *
 * - F(2×2): 2G, hence 4·acc in the end. A row of Bᵀ makes at most 2c of codes: inputs are within 4·255, weights within 9·128, both i16.
 * - F(4×4): 24G, its last row halved, which the output transform makes up for, hence 576·acc. A row of Bᵀ makes −8c to 2c (row 1), or at
 *   most 5c in size: inputs are within (8·8 + 2·2)·255. Rows of this G add up to 12 at most: weights are within 144·128. Both are i16.
 *   Of weights of two bits, transformed by G without the factors of its rows, all are within 49·2, bytes: half as many come from memory,
 *   and the output transform multiplies.
 * - F(5×5): row i of G is f_i·(1, a, a²) for point a, f = 120/∏(a − other points), hence 14400·acc with 120 times the products of the last
 *   row, (0, 0, 1). Rows of Bᵀ have positive and negative coefficients that add up to 20 and 20 at most (row 1: 21 and 9): inputs are
 *   within (20·20 + 20·20)·31 for codes of five bits. Rows of G add up to 35 at most: weights of five bits are within 35²·16. Both are i16.
 *
 * Products are summed, and the sums transformed, modulo 2^32: to acc times 4, 2^6·9 or 2^6·225. Multiplied by the inverse of 9 or 225
 * modulo 2^32 (before the shift, so that acc need not leave room for it) that is 2^s·acc modulo 2^32, s = 2 or 6, and an arithmetic shift
 * right by s gives acc exactly if |acc| < 2^(31−s). It is at most 9·channels·2^(W−1)·(2^A − 1), which `accepts` bounds. Columns past the
 * end of a row may be any bytes where i16 has room for them, as outputs inside do not depend on them; F(5×5) fills them with padding.
 */
import { alignUp } from '@bitloom/codegen';
import { type ConvParams, PLAIN_SUMS, convK, largestSum } from '@bitloom/kernel-spec';
import { weightAlpha, weightBeta } from '@bitloom/numerics';
import { FIELDS, SLACK, type Field, bytesFunction, d, descriptorOf, geometry, paddedRow, scratchOffsets, unpackFunction } from './descriptor.js';
import { coverRow } from './driver.js';
import { type Epilogue, constantFunctions, epilogueOf } from './epilogue.js';
import { integerPacking } from './family.js';
import { dotTile } from './families/dot.js';
import { range, rendered } from './render.js';
import type { ConvCode, WasmVariant } from './variants.js';

/** Channels of a block, and pixels of tiles of the multiplication. */
const CHANNELS = 8;
const PIXELS = [4, 3, 2, 1] as const;
/** Tiles that share a pass over the weights, if there are as many. */
const BLOCK_TILES = 48;
/** More would need much memory for transformed inputs. */
const MAX_CHANNELS = 1024;

/** One dimension of a transform: values named in terms of the inputs, then results in terms of both. */
interface Transform {
  readonly steps: readonly { readonly name: string; readonly value: string }[];
  readonly results: readonly string[];
}

interface Arithmetic {
  add(a: string, b: string): string;
  sub(a: string, b: string): string;
  shl(a: string, bits: number): string;
}
const arithmetic = (lanes: string): Arithmetic => ({
  add: (a, b) => `(${lanes}.add ${a} ${b})`,
  sub: (a, b) => `(${lanes}.sub ${a} ${b})`,
  shl: (a, bits) => `(${lanes}.shl ${a} (i32.const ${bits}))`,
});
const get = (name: string): string => `(local.get $${name})`;

/** F(size×size, 3×3). */
interface Algorithm {
  readonly size: 2 | 4 | 5;
  /** Part of names. */
  readonly name: string;
  /** Widest weights and codes, and bytes of a transformed weight. */
  readonly weightBits: number;
  readonly codeBits: number;
  readonly weightBytes: 1 | 2;
  /** s, and the inverse of the odd factor of acc modulo 2^32 or null for 1. */
  readonly scaleShift: number;
  readonly inverse: string | null;
  /** Bᵀ of d0 …, Aᵀ of m0 …, and G of three values. */
  input(o: Arithmetic): Transform;
  output(o: Arithmetic): Transform;
  weights(o: Arithmetic, a: string, b: string, c: string): readonly string[];
}

const [d0, d1, d2, d3, d4, d5, d6] = range(7).map((i) => get(`d${i}`));
const [m0, m1, m2, m3, m4, m5, m6] = range(7).map((i) => get(`m${i}`));
const [p, q, r, s, t, u, v, w, y, z] = ['p', 'q', 'r', 's', 't', 'u', 'v', 'w', 'y', 'z'].map(get);
const times = (x: string, k: number): string => `(i32.mul ${x} (i32.const ${k}))`;

const F2: Algorithm = {
  name: 'winograd', size: 2, weightBits: 8, codeBits: 8, weightBytes: 2, scaleShift: 2, inverse: null,
  input: ({ add, sub }) => ({ steps: [], results: [sub(d0, d2), add(d1, d2), sub(d2, d1), sub(d1, d3)] }),
  output: ({ add, sub }) => ({ steps: [], results: [add(add(m0, m1), m2), sub(sub(m1, m2), m3)] }),
  weights: ({ add, sub, shl }, a, b, c) => [shl(a, 1), add(add(a, c), b), sub(add(a, c), b), shl(c, 1)],
};

/** Of a row of weights, values at points 1 and −1 as ends ± b, at 2 and −2 as far ± middle. */
const valuesOf = ({ add, shl }: Arithmetic, a: string, b: string, c: string) => ({ ends: add(a, c), far: add(a, shl(c, 2)), middle: shl(b, 1) });
/** Sums and differences of the products of points of opposite signs. */
const signsOf = ({ add, sub }: Pick<Arithmetic, 'add' | 'sub'>): Transform['steps'] => [
  { name: 's', value: add(m1, m2) }, { name: 't', value: sub(m1, m2) }, { name: 'u', value: add(m3, m4) }, { name: 'v', value: sub(m3, m4) },
];

const F4: Algorithm = {
  name: 'winograd4', size: 4, weightBits: 8, codeBits: 8, weightBytes: 2, scaleShift: 6, inverse: '0x38e38e39',
  input: ({ add, sub, shl }) => ({
    steps: [
      { name: 'p', value: sub(d4, shl(d2, 2)) }, { name: 'q', value: sub(d3, shl(d1, 2)) },
      { name: 'r', value: sub(d4, d2) }, { name: 's', value: shl(sub(d3, d1), 1) },
    ],
    results: [add(shl(sub(d0, d2), 2), r), add(p, q), sub(p, q), add(r, s), sub(r, s), sub(sub(d5, d3), shl(s, 1))],
  }),
  output: ({ add, sub, shl }) => ({
    steps: signsOf({ add, sub }),
    results: [add(add(m0, s), u), add(t, shl(v, 1)), add(s, shl(u, 2)), add(t, shl(add(shl(v, 2), m5), 1))],
  }),
  weights: (o, a, b, c) => {
    const { add, sub } = o;
    const { ends, far, middle } = valuesOf(o, a, b, c);
    return [times(a, 6), times(add(ends, b), -4), times(sub(ends, b), -4), add(far, middle), sub(far, middle), times(c, 12)];
  },
};

/** Factors of rows of G are left to the output transform. */
const F4_BYTES: Algorithm = {
  ...F4, name: 'winograd4_bytes', weightBits: 2, weightBytes: 1,
  output: ({ add, sub, shl }) => ({
    steps: signsOf({ add, sub }),
    results: [
      add(u, shl(sub(add(shl(m0, 1), m0), shl(s, 1)), 1)), shl(sub(v, shl(t, 1)), 1), shl(sub(u, s), 2), shl(add(sub(shl(v, 1), t), add(shl(m5, 2), shl(m5, 1))), 2),
    ],
  }),
  weights: (o, a, b, c) => {
    const { add, sub } = o;
    const { ends, far, middle } = valuesOf(o, a, b, c);
    return [a, add(ends, b), sub(ends, b), add(far, middle), sub(far, middle), c];
  },
};

const F5: Algorithm = {
  name: 'winograd5', size: 5, weightBits: 5, codeBits: 5, weightBytes: 2, scaleShift: 6, inverse: '0x87654321',
  input: ({ add, sub, shl }) => {
    const triple = (x: string): string => add(shl(x, 1), x);
    return {
      steps: [
        { name: 'p', value: sub(d1, d3) }, { name: 'q', value: sub(d2, d4) },
        // Of points 1 and −1; of 3, which is part of all others; of 2 and −2.
        { name: 'r', value: sub(shl(d1, 2), d3) }, { name: 's', value: sub(shl(d2, 2), d4) }, { name: 'w', value: add(sub(d5, d3), shl(p, 2)) },
        { name: 'y', value: shl(p, 1) }, { name: 'z', value: sub(q, y) },
      ],
      results: [
        add(w, triple(sub(q, shl(sub(d0, d2), 2)))), add(w, shl(add(r, s), 1)), add(w, shl(sub(s, r), 2)), add(w, add(q, y)), add(w, add(shl(z, 2), z)), w,
        sub(add(sub(d6, d4), shl(q, 2)), triple(w)),
      ],
    };
  },
  output: ({ add, sub, shl }) => ({
    steps: [
      ...signsOf({ add, sub }),
      // 3, 9 and 27 times m5
      { name: 'w', value: add(shl(m5, 1), m5) }, { name: 'y', value: add(shl(w, 1), w) }, { name: 'z', value: add(shl(y, 1), y) },
    ],
    results: [
      add(add(m0, s), add(u, m5)), add(t, add(shl(v, 1), w)), add(s, add(shl(u, 2), y)), add(t, add(shl(v, 3), z)),
      add(add(s, shl(u, 4)), add(add(shl(z, 1), z), shl(sub(shl(m6, 4), m6), 3))),
    ],
  }),
  weights: (o, a, b, c) => {
    const { add, sub } = o;
    const { ends, far, middle } = valuesOf(o, a, b, c);
    return [
      times(a, -10), times(add(ends, b), 10), times(sub(ends, b), 5), times(add(far, middle), -5), sub(middle, far), add(add(a, times(b, 3)), times(c, 9)), c,
    ];
  },
};

const widthOf = (f: Algorithm, p: ConvParams): number => Math.ceil(p.outW / f.size);
const tileRowsOf = (f: Algorithm, p: ConvParams): number => Math.ceil(p.outH / f.size);
const positionsOf = (f: Algorithm): number => (f.size + 2) ** 2;

/** Blocks of rows of tiles in an image. */
const blocksOf = (f: Algorithm, p: ConvParams): number =>
  Math.max(1, Math.ceil(tileRowsOf(f, p) / Math.max(1, Math.round(BLOCK_TILES / Math.max(widthOf(f, p), 1)))));

function numbersOf(f: Algorithm, p: ConvParams): {
  readonly values: Partial<Record<Field, number>>;
  readonly scratch: Record<'ring' | 'stage' | 'segs' | 'acc' | 'columnSums' | 'totals' | 'codes', number>;
  readonly tiles: readonly number[];
} {
  const { columns, values } = geometry(p);
  const [width, tileRows, positions, reach] = [widthOf(f, p), tileRowsOf(f, p), positionsOf(f), f.size + 2];
  const rows = Math.max(1, Math.ceil(tileRows / blocksOf(f, p)));
  const tiles = rows * width;
  const steps = Math.ceil(p.inC / 2);
  const ringRows = f.size * rows + 2;
  // Loads of eight channels, and output columns of the last tile, go past the end of a row.
  const ringPitch = alignUp((columns + f.size - 1) * p.inC + SLACK, SLACK);
  const xs = alignUp(p.inC, 8) * 2;
  const runBytes = tiles * xs + SLACK;
  const cutBytes = tiles * CHANNELS * 4 + SLACK;
  const columnSumsPitch = f.size * width * CHANNELS * 4;
  return {
    tiles: [coverRow(tiles, PIXELS), coverRow((tileRows % rows) * width, PIXELS)].flat(),
    scratch: {
      ring: ringRows * ringPitch, stage: positions * runBytes, segs: positions * 4, acc: positions * cutBytes,
      columnSums: (f.size * width + 2) * reach * 16, totals: f.size * rows * columnSumsPitch, codes: convK(p) + SLACK,
    },
    values: {
      ...values, ...(f.codeBits < 8 ? { rightBytes: values.rightBytes! + (f.size * width + 2 - columns) * p.inC } : {}), width, rows, runs: tileRows, ringRows, ringPitch, runBytes, cutBytes, columnSumsPitch, xs, steps,
      columns: f.size * width + 2, blockBytes: steps * 2 * CHANNELS * f.weightBytes, constFactor: -p.xZero,
    },
  };
}

function inputTransform(f: Algorithm): ReturnType<typeof rendered> {
  const reach = f.size + 2;
  const { steps, results } = f.input(arithmetic('i16x8'));
  return rendered('winograd_input', `${f.name}_input`, {
    d, steps, reach, columnBytes: 16 * reach, tileBytes: 16 * reach * f.size,
    lines: range(reach).map((index) => ({ index, offset: 16 * reach * index })),
    results: results.map((value, i) => ({ value, offset: 16 * i })),
  });
}

function outputTransform(f: Algorithm): ReturnType<typeof rendered> {
  const lines = range(f.size + 2);
  const { steps, results } = f.output(arithmetic('i32x4'));
  return rendered('winograd_output', `${f.name}_output`, {
    d, lines, steps, scaleShift: f.scaleShift, inverse: f.inverse, tileBytes: (f.size - 1) * CHANNELS * 4,
    rows: lines.map((i) => ({
      loads: lines.map((j) => ({ name: `m${j}` })),
      results: results.map((value, j) => ({ name: `y${i}_${j}`, value })),
    })),
    columns: results.map((_, index) => ({
      index,
      loads: lines.map((i) => ({ name: `m${i}`, from: `y${i}_${index}` })),
      stores: results.map((value, i) => ({ to: `to${i}`, offset: CHANNELS * 4 * index, value })),
    })),
  });
}

function codeOf(f: Algorithm, p: ConvParams): ConvCode {
  const bits = p.weightBits!;
  const [copy, fill, padded, unpack] = [bytesFunction(true, true), bytesFunction(true, false), paddedRow(true), unpackFunction(p)];
  const row = rendered('conv_row', 'conv_row_plain', { d, row: padded.name, copy: copy.name, convert: '', rowSums: '' });
  const epilogue = epilogueFor(p);
  const constants = constantFunctions(epilogue);
  const tiles = PIXELS.map((n) => dotTile(f.weightBytes === 1 ? 'i8' : 'i16', n, CHANNELS / 4));
  const [input, output] = [inputTransform(f), outputTransform(f)];
  const tables = 4 * FIELDS.length;
  const outShift = p.output === 'codes' ? 0 : 2;
  const positions = positionsOf(f);
  const run = rendered('winograd', `${f.name}_${epilogue.symbol}`, {
    d, row: row.name, input: input.name, output: output.name, epilogue: epilogue.functions[0].name, constStep: CHANNELS * epilogue.constBytes, outStep: CHANNELS << outShift,
    positions, size: f.size, fullTiles: tables, lastTiles: tables + 4 * PIXELS.length,
    tiles: PIXELS.map((count, i) => ({ count, symbol: tiles[i].name, offset: 4 * i, accBytes: count * CHANNELS * 4 })),
  });
  const o = arithmetic('i32');
  const prepare = rendered('winograd_prepare', `${f.name}_prepare_w${bits}${epilogue.thresholds ? `_${epilogue.symbol}` : ''}`, {
    d, placeConstant: constants[0].name, unpack: unpack.name, alphaShift: weightAlpha(bits) - 1, beta: weightBeta(bits), nine: range(9), positions, bytes: f.weightBytes === 1,
    // Rows of the kernel first, so that g is (size + 2)×3.
    rows: range(3).flatMap((j) => f.weights(o, get(`v${j}`), get(`v${3 + j}`), get(`v${6 + j}`)).map((value, i) => ({ name: `${i}${j}`, value }))),
    outputs: range(f.size + 2).flatMap((i) => f.weights(o, get(`g${i}0`), get(`g${i}1`), get(`g${i}2`))),
  });
  return {
    functions: [run, row, padded, copy, fill, input, output, ...epilogue.functions, ...tiles, prepare, ...constants, unpack],
    run: run.name, prepare: prepare.name, descriptorBytes: tables + 8 * PIXELS.length,
  };
}

/** Sums are Σ v·u. */
const epilogueFor = (p: ConvParams): Epilogue => epilogueOf(true, p, PLAIN_SUMS);

const constsBytes = (p: ConvParams): number => alignUp(alignUp(p.outC, CHANNELS) * epilogueFor(p).constBytes, SLACK);
const blocksBytes = (f: Algorithm, p: ConvParams): number => Math.ceil(p.outC / CHANNELS) * positionsOf(f) * Math.ceil(p.inC / 2) * 2 * CHANNELS * f.weightBytes;

/**
 * Products at the rate of int8, as many as four more channels make for the start of each tile; weights from afar for each block of
 * tiles; transforms of inputs and of outputs.
 */
function cost(f: Algorithm, p: ConvParams): number {
  const tiles = p.batch * tileRowsOf(f, p) * widthOf(f, p);
  const bytes = blocksBytes(f, p);
  const far = bytes > 1 << 20 ? (p.batch * blocksOf(f, p) * bytes) / 24 : 0;
  const [input, output] = { 2: [1.2, 1.6], 4: [4, 8], 5: [6, 13] }[f.size];
  const products = tiles * positionsOf(f) * (alignUp(p.inC, 2) + 4) * alignUp(p.outC, CHANNELS);
  return products / (f.weightBytes === 1 ? 32 : 38) + tiles * (input * alignUp(p.inC, 8) + output * p.outC) + far;
}

const winograd = (f: Algorithm): WasmVariant => ({
  name: `${f.name}__simd128`,
  kernel: 'winograd',
  isa: 'simd128',
  accepts: (p) =>
    p.kind === 'int' && p.groups === 1 && p.kH === 3 && p.kW === 3 && p.inC <= MAX_CHANNELS &&
    p.strideH === 1 && p.strideW === 1 && p.dilH === 1 && p.dilW === 1 && p.weightBits! <= f.weightBits && p.activationBits! <= f.codeBits && largestSum(p, PLAIN_SUMS) < 2 ** (31 - f.scaleShift),
  cost: (p) => cost(f, p),
  packing: integerPacking,
  scratch: (p, part = p) => scratchOffsets(numbersOf(f, part).scratch).bytes,
  prepared: (p) => constsBytes(p) + blocksBytes(f, p) + SLACK,
  symbol: (p) => `${f.name}_w${p.weightBits}_${epilogueFor(p).symbol}__simd128`,
  code: (p) => codeOf(f, p),
  descriptor: (p, a, part = p) => {
    const n = numbersOf(f, part);
    return descriptorOf(n.values, scratchOffsets(n.scratch).at, constsBytes(p), a, n.tiles);
  },
});

export const WINOGRAD: readonly WasmVariant[] = [F2, F4, F4_BYTES, F5].map(winograd);
