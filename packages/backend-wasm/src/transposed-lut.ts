/**
 * Tables of partial sums the other way round than the `lut` family's: four one-bit activations of a pixel index the 16 sums of subsets of
 * four weights of a channel. Tables are made once, as weights are constant, and a plane of activations costs what a plane of weights
 * does there, so this is for activations of fewer bits than weights. Lanes are 16 output pixels, of any rows.
 *
 * A swizzle does 64 one-bit products. Entries are summed in i8, for as many tables at a time as the weights at hand allow: four weights of w bits
 * make −2^(w+1) at the least, so that is one table at least for up to six bits, and in general many more. These sums move to i16, where
 * planes of activations are joined by shifts, and on to i32 before they could overflow.
 *
 * Every four codes of the input become a byte first, with an index of each plane. Where channels are no multiple of four, that is done to
 * patches of codes, else to the whole input once, and patches are gathered of its bytes.
 */
import { alignUp } from '@bitloom/codegen';
import { type ConvParams, PLAIN_SUMS, convK, isPointwise } from '@bitloom/kernel-spec';
import { weightBeta } from '@bitloom/numerics';
import { FIELDS, SLACK, type Field, d, descriptorOf, geometry, scratchOffsets, unpackFunction } from './descriptor.js';
import { gatherFunction } from './driver.js';
import { EPILOGUE_CHANNELS, type Epilogue, constantFunctions, epilogueOf } from './epilogue.js';
import { type WasmFunction, integerPacking } from './family.js';
import { interleaved, range, rendered } from './render.js';
import type { ConvCode, WasmVariant } from './variants.js';

type TableIsa = 'simd128' | 'relaxed';

/** Channels of a tile; the epilogue takes twice as many. */
const CHANNELS = 4;
/** Pixels of a vector. */
const PIXELS = 16;
/** Weights under one table. */
const TABLE = 4;
const MAX_WEIGHT_BITS = 6;
/** Indices that fit a byte; with three planes other kernels are faster anyway. */
const MAX_ACTIVATION_BITS = 2;

/** Added to i8 sums to make them u8. */
const OFFSET = 128;
/** i8 sums, at least −128, whose planes joined, n·128·(2^A − 1) in size, fit an i16. */
const groupChunks = (activationBits: number): number => Math.floor(2 ** 15 / (OFFSET * (2 ** activationBits - 1)));

/** Tables to sum up in i8 at the most: about as many as normally distributed weights allow, so that timing a kernel on zeros tells of others. */
const mostTables = (weightBits: number): number => Math.floor(2 ** (8.4 - weightBits));

const get = (name: string): string => `(local.get $${name})`;
const splat = (byte: number): string => `(v128.const i8x16${` ${byte}`.repeat(16)})`;
/** Interleaves the low or high halves of two vectors, `width` bytes at a time. */
const interleave = (width: number, high: boolean, a: string, b: string): string =>
  `(i8x16.shuffle ${interleaved(width, high, 16).join(' ')} ${get(a)} ${get(b)})`;

function tile(isa: TableIsa, activationBits: number): WasmFunction {
  const channels = range(CHANNELS);
  const planes = range(activationBits);
  const swizzle = isa === 'relaxed' ? 'i8x16.relaxed_swizzle' : 'i8x16.swizzle';
  const cellsOf = (channel: number) => planes.map((plane) => ({ name: `${channel}_${plane}`, plane, entry: `(${swizzle} ${get('t')} ${get(`i${plane}`)})` }));
  /** The 16-bit sums at an offset and those of a channel's planes, `of` each. */
  const joined = (offset: number, channel: number, of: (sum: string) => string): string => cellsOf(channel).reduce((sum, { name, plane }) => {
    const term = of(get(`a${name}`));
    return `(i16x8.add ${sum} ${plane ? `(i16x8.shl ${term} (i32.const ${plane}))` : term})`;
  }, `(v128.load offset=${offset} ${get('sums')})`);
  // Lanes of $s are even pixels, those of $o odd ones.
  const results = ['s', 'o'].flatMap((name, odd) => [0, 1].map((upper) => ({
    pairs: interleave(2, upper === 1, `${name}0`, `${name}1`),
    otherPairs: interleave(2, upper === 1, `${name}2`, `${name}3`),
    quads: [0, 1].map((q) => ({
      value: interleave(4, q === 1, 't', 'u'),
      words: ['low', 'high'].map((half, h) => ({ offset: 32 * (8 * upper + 4 * q + 2 * h + odd), value: `(i32x4.extend_${half}_i16x8_s ${get('i0')})` })),
    })),
  })));
  return rendered('transposed_lut_tile', `tile_transposed_lut_a${activationBits}__${isa}`, {
    channels, planes, results, slots: range(2 * CHANNELS).map((i) => 16 * i), cells: channels.flatMap(cellsOf),
    parts: [2, 1].map((steps) => ({
      two: steps === 2,
      wStep: 16 * CHANNELS * steps,
      xStep: 16 * activationBits * steps,
      tables: range(steps).map((t) => ({
        indices: planes.map((plane) => ({ plane, offset: 16 * (t * activationBits + plane) })),
        channels: channels.map((c) => ({ offset: 16 * (t * CHANNELS + c), cells: cellsOf(c) })),
      })),
    })),
    flushes: channels.map((channel) => {
      const [at, highAt] = [32 * channel, 32 * channel + 16];
      return { channel, at, highAt, sums: joined(at, channel, (a) => a), highs: joined(highAt, channel, (a) => `(i16x8.shr_u ${a} (i32.const 8))`) };
    }),
    offset: splat(OFFSET), offsets: OFFSET * (2 ** activationBits - 1), groupChunks: groupChunks(activationBits),
  });
}

function packFunction(activationBits: number): WasmFunction {
  const two = activationBits === 2;
  const four = range(4);
  return rendered('transposed_lut_pack', `transposed_lut_pack_a${activationBits}`, {
    two, four,
    vectors: four.map((index) => {
      const v = get(`v${index}`);
      return { index, offset: 16 * index, bits: `(v128.and ${two ? `(v128.or ${v} (i16x8.shl ${v} (i32.const 3)))` : v} ${splat(two ? 0x11 : 1)})` };
    }),
  });
}

function indicesFunction(activationBits: number): WasmFunction {
  const rows = range(16);
  return rendered('transposed_lut_indices', `transposed_lut_indices_a${activationBits}`, {
    rows, planeCount: activationBits, chunkBytes: 16 * 16 * activationBits,
    rounds: ['ab', 'ba', 'ab', 'ba'].map(([from, to]) => ({
      vectors: rows.map((i) => ({ name: `${to}${i}`, value: interleave(1, i % 2 === 1, `${from}${i >> 1}`, `${from}${(i >> 1) + 8}`) })),
    })),
    stores: rows.flatMap((i) => {
      const a = get(`a${i}`);
      const values = activationBits === 1 ? [a] : [a, `(i16x8.shr_u ${a} (i32.const 4))`].map((v) => `(v128.and ${v} ${splat(15)})`);
      return values.map((value, plane) => ({ offset: 16 * (i * activationBits + plane), value }));
    }),
  });
}

/** Whether the whole input is packed, not its patches. */
const isPacked = (p: ConvParams): boolean => p.inC % TABLE === 0;
const tablesOf = (p: ConvParams): number => Math.ceil(convK(p) / TABLE);
const blockBytes = (p: ConvParams): number => alignUp(tablesOf(p), 16) + tablesOf(p) * 16 * CHANNELS;
const blocksBytes = (p: ConvParams): number => Math.ceil(p.outC / CHANNELS) * blockBytes(p);
/** Vectors that share a pass over the tables, if there are as many: more where tables come from afar. */
const blockVectors = (p: ConvParams): number => (blocksBytes(p) > 1 << 20 ? 16 : 4);
/** Sums are Σ v·u. */
const epilogueFor = (p: ConvParams): Epilogue => epilogueOf(true, p, PLAIN_SUMS);

const constsBytes = (p: ConvParams): number => alignUp(alignUp(p.outC, EPILOGUE_CHANNELS) * epilogueFor(p).constBytes, SLACK);

function numbersOf(p: ConvParams): {
  readonly values: Partial<Record<Field, number>>;
  readonly scratch: Record<'ring' | 'stage' | 'segs' | 'acc' | 'codes', number>;
} {
  const { values } = geometry(p);
  const [k, steps, packed] = [convK(p), tablesOf(p), isPacked(p)];
  const vectors = Math.ceil(values.pixels! / PIXELS);
  const width = Math.ceil(vectors / Math.ceil(vectors / blockVectors(p)));
  const runBytes = alignUp(steps, 16) * 16 * p.activationBits!;
  const patchBytes = packed ? alignUp(steps, 16) : alignUp(k, 16);
  // Rows that windows of a part touch.
  const rowCodes = p.inW * p.inC;
  const firstRow = Math.min(p.inH, Math.max(0, -p.padT));
  const endRow = Math.max(firstRow, Math.min(p.inH, (p.outH - 1) * p.strideH - p.padT + values.reach!));
  const pixelBytes = p.inC / TABLE;
  return {
    scratch: {
      ring: packed ? p.batch * p.inH * rowCodes / TABLE + PIXELS * pixelBytes + SLACK : PIXELS * patchBytes / TABLE + SLACK,
      stage: PIXELS * patchBytes + 2 * SLACK, segs: width * runBytes, acc: width * PIXELS * 32, codes: k + SLACK,
    },
    values: {
      ...values, steps, width: width * PIXELS, runBytes, patchBytes, blockBytes: blockBytes(p), constFactor: -p.xZero,
      ...(packed ? {
        pixelCodes: isPointwise(p) ? pixelBytes : patchBytes, tapBytes: pixelBytes, pixelBytes,
        fill: 15 * ((p.xZero & 1) | ((p.xZero & 2) << 3)),
        leftBytes: p.batch === 1 ? firstRow * rowCodes : 0, insideBytes: p.batch === 1 ? (endRow - firstRow) * rowCodes : p.batch * p.inH * rowCodes,
      } : { pixelCodes: patchBytes / TABLE }),
    },
  };
}

function codeOf(isa: TableIsa, p: ConvParams): ConvCode {
  const [w, a] = [p.weightBits!, p.activationBits!];
  const packed = isPacked(p);
  const gather = packed && isPointwise(p) ? null : gatherFunction(true);
  const mode = !packed ? 'codes' : gather ? 'packed' : 'direct';
  const [pack, indices, sums, unpack] = [packFunction(a), indicesFunction(a), tile(isa, a), unpackFunction(p)];
  const epilogue = epilogueFor(p);
  const constants = constantFunctions(epilogue);
  const outShift = p.output === 'codes' ? 0 : 2;
  const run = rendered('transposed_lut', `transposed_lut_a${a}_${mode}_${epilogue.symbol}__${isa}`, {
    d, packed, gather: gather?.name ?? '', pack: pack.name, indices: indices.name, tile: sums.name, epilogue: epilogue.functions[0].name, constStep: EPILOGUE_CHANNELS * epilogue.constBytes,
    codes: !packed ? d.ring : gather ? d.stage : `(i32.add ${d.ring} (i32.mul (i32.add ${get('p')} ${get('v')}) ${d.pixelBytes}))`,
    outStep: 8 << outShift, halves: [0, 1].map((i) => ({ first: i * CHANNELS, bytes: i * CHANNELS * 4 })),
  });
  const channels = range(CHANNELS);
  const chunks = rendered('transposed_lut_chunks', `transposed_lut_chunks_w${w}`, {
    most: mostTables(w),
    // Entries 1, 2, 4 and 8 of a table are the weights.
    channels: channels.map((index) => ({ index, weights: [1, 2, 4, 8].map((i) => 16 * index + i) })),
    tooMany: channels
      .map((c) => `(i32.or (i32.gt_u (i32.and ${get(`e${c}`)} (i32.const 0xffff)) (i32.const 127)) (i32.gt_u ${get(`e${c}`)} (i32.const 0x80ffff)))`)
      .reduce((x, y) => `(i32.or ${x} ${y})`),
  });
  const beta = weightBeta(w);
  const prepare = rendered('transposed_lut_prepare', `transposed_lut_prepare_w${w}${epilogue.thresholds ? `_${epilogue.symbol}` : ''}`, {
    d, placeConstant: constants[0].name, unpack: unpack.name, chunks: chunks.name, beta, betas: splat(beta),
    // Bit i of the number of an entry is whether it has weight i.
    pairs: [0, 2].map((first) => ({
      weights: [first, first + 1].map((index) => ({ index, mask: `(v128.const i8x16${range(16).map((i) => ((i >> index) & 1 ? ' 255' : ' 0')).join('')})` })),
    })),
  });
  return {
    functions: [run, gather, pack, indices, sums, ...epilogue.functions, prepare, ...constants, chunks, unpack].filter((f) => f !== null),
    run: run.name, prepare: prepare.name, descriptorBytes: 4 * FIELDS.length,
  };
}

/** One-bit products a ns where sums never move, and moves of sums in terms of tables. */
const RATE: Readonly<Record<TableIsa, readonly [number, number]>> = { simd128: [210, 2.6], relaxed: [370, 5.2] };

function cost(isa: TableIsa, p: ConvParams): number {
  const vectors = Math.ceil((p.batch * p.outH * p.outW) / PIXELS);
  const pixels = PIXELS * vectors;
  const [rate, move] = RATE[isa];
  const bytes = blocksBytes(p);
  const far = bytes > 1 << 20 ? (Math.ceil(vectors / blockVectors(p)) * bytes) / 20 : 0;
  const products = pixels * convK(p) * alignUp(p.outC, CHANNELS) * p.activationBits!;
  const gather = isPacked(p) && isPointwise(p) ? 0 : (4 + 2 * p.kH) * pixels;
  return (products / rate) * (1 + move / mostTables(p.weightBits!)) + gather + (isPacked(p) ? 0.05 : 0.15) * pixels * convK(p) + 0.4 * pixels * p.outC + far;
}

const variant = (isa: TableIsa): WasmVariant => ({
  name: `transposed_lut__${isa}`,
  kernel: 'lut',
  isa,
  accepts: (p) =>
    p.kind === 'int' && p.groups === 1 && p.activationBits! < p.weightBits! && p.activationBits! <= MAX_ACTIVATION_BITS && p.weightBits! <= MAX_WEIGHT_BITS,
  cost: (p) => cost(isa, p),
  packing: integerPacking,
  scratch: (p, part = p) => scratchOffsets(numbersOf(part).scratch).bytes,
  prepared: (p) => constsBytes(p) + blocksBytes(p) + SLACK,
  symbol: (p) => `transposed_lut_w${p.weightBits}_${epilogueFor(p).symbol}__${isa}`,
  code: (p) => codeOf(isa, p),
  descriptor: (p, a, part = p) => {
    const n = numbersOf(part);
    return descriptorOf(n.values, scratchOffsets(n.scratch).at, constsBytes(p), a);
  },
});

export const TRANSPOSED_LUT: readonly WasmVariant[] = (['relaxed', 'simd128'] as const).map(variant);
