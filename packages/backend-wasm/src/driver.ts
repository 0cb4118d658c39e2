/**
 * The convolution driver: turns a kernel family into a variant of the conv family. Every call has a descriptor, a row of words in
 * constant memory that its functions read their sizes and addresses from; functions are shared by all calls of a family.
 *
 * Where a call's runs of activations come from:
 * - `rows`: a ring of converted input rows, each of which holds every column that windows touch, padding included.
 * - `direct`: 1×1 and not strided: neighbouring pixels are neighbours in the input.
 * - `gathered`: patches copied tap by tap; where channels are no multiple of the family's grain, or pixels are skipped.
 */
import { alignUp } from '@bitloom/codegen';
import { fail } from '@bitloom/diagnostics';
import { type ConvParams, convK } from '@bitloom/kernel-spec';
import { weightAlpha, weightBeta } from '@bitloom/numerics';
import { EPILOGUE_CHANNELS, type Epilogue, constantFunctions, epilogueOf } from './epilogue.js';
import type { Family, FamilyKernel, WasmFunction } from './family.js';
import { FIELDS, SLACK, type Field, bytesFunction, d, descriptorOf, geometry, paddedRow, scratchOffsets, unpackFunction } from './descriptor.js';
import { range, rendered } from './render.js';
import type { Addresses, ConvCode, WasmVariant } from './variants.js';

type Mode = 'rows' | 'direct' | 'gathered';

// ---- numbers

/** Pixels that share a pass over the weights, if there are as many. */
const BLOCK_PIXELS = 64;
/** Pixels of one block at most. */
const MAX_WIDTH = 256;

interface Numbers {
  readonly mode: Mode;
  readonly scratch: Readonly<Record<'ring' | 'stage' | 'segs' | 'acc' | 'columnSums' | 'totals' | 'sums' | 'codes', number>>;
  readonly constsBytes: number;
  readonly blocksBytes: number;
  readonly values: Readonly<Partial<Record<Field, number>>>;
  /** Tiles of each size in a row of a full block, and of the last one. */
  readonly tiles: readonly [readonly number[], readonly number[]];
  /** What the layout of prepared weights depends on besides the family. */
  readonly layout: string;
}

function modeOf(p: ConvParams, kernel: FamilyKernel): Mode {
  const pointwise = p.kH === 1 && p.kW === 1;
  const strided = p.strideH > 1 || p.strideW > 1;
  if ((p.inC / p.groups) % kernel.grain !== 0 || (pointwise && strided)) return 'gathered';
  const inside = p.padT === 0 && p.padL === 0 && p.outH === p.inH && p.outW === p.inW;
  return pointwise && inside ? 'direct' : 'rows';
}

/** Fewest tiles that cover a row, larger ones first. */
export function coverRow(width: number, sizes: readonly number[]): number[] {
  const best: { count: number; last: number }[] = [{ count: 0, last: -1 }];
  for (let w = 1; w <= width; w++) {
    const all = sizes.map((size, last) => ({ count: size <= w ? best[w - size].count + 1 : Infinity, last }));
    best.push(all.reduce((a, b) => (b.count < a.count ? b : a)));
  }
  const counts = sizes.map(() => 0);
  for (let w = width; w > 0; w -= sizes[best[w].last]) counts[best[w].last]++;
  return counts;
}

function numbersOf(p: ConvParams, kernel: FamilyKernel, simd: boolean): Numbers {
  const mode = modeOf(p, kernel);
  const { step, grain, grainBytes, channels } = kernel;
  const converted = (elements: number): number => (elements / grain) * grainBytes;
  const float = p.kind === 'f32';
  const size = float ? 4 : 1;
  const cg = p.inC / p.groups;
  const og = p.outC / p.groups;
  const k = convK(p);
  const pixels = p.batch * p.outH * p.outW;

  // Segments: whole kernel rows where taps are neighbours.
  const joined = p.groups === 1 && p.dilW === 1;
  const runs = mode !== 'rows' ? 1 : joined ? 1 : p.kW;
  const runsTotal = mode !== 'rows' ? 1 : runs * p.kH;
  const runLength = k / runsTotal;
  const runSteps = Math.max(1, Math.ceil(runLength / step));
  const cuts = Math.max(1, Math.ceil(runSteps / kernel.maxSteps));
  const steps = Math.ceil(runSteps / cuts);
  const segments = runsTotal * cuts;
  const overRead = converted(cuts * steps * step) + SLACK;

  // Blocks of pixels.
  const blocksOf = (n: number, most: number): number => Math.max(1, Math.ceil(n / Math.max(1, Math.ceil(n / most))));
  const width = mode === 'rows' ? blocksOf(p.outW, MAX_WIDTH) : blocksOf(pixels, BLOCK_PIXELS);
  const rows = mode !== 'rows' || width < p.outW ? 1 : blocksOf(p.outH, Math.max(1, Math.round(BLOCK_PIXELS / p.outW)));
  const lastWidth = (mode === 'rows' ? p.outW : pixels) % width;

  const { columns, values } = geometry(p);
  const convertCount = alignUp(columns * p.inC, step);
  const ringRows = (rows - 1) * p.strideH + values.reach!;
  const ringPitch = alignUp(converted(convertCount) + SLACK, SLACK);
  const patch = alignUp(k, step);
  const pixelCodes = mode === 'gathered' ? patch : p.inC;
  const convert = kernel.convert !== null;
  const columnSumsPitch = alignUp(columns * p.groups * 4, 16) + 16;

  const blockBytes = kernel.blockBytes(steps);
  const channelBlocks = Math.ceil(og / channels);
  const scratch = {
    ring: mode === 'rows' ? ringRows * ringPitch + overRead : convert ? converted(alignUp(width * pixelCodes, step)) + SLACK + overRead : 0,
    stage: mode === 'gathered' ? width * patch * size + step * size + SLACK : mode === 'rows' && convert ? columns * p.inC + step + 2 * SLACK : 0,
    segs: rows * segments * 4,
    acc: rows * width * channels * 4,
    columnSums: kernel.unsigned && mode === 'rows' ? ringRows * columnSumsPitch : 0,
    totals: kernel.unsigned && mode === 'rows' ? columnSumsPitch + 16 * p.kW * p.dilW : 0,
    sums: kernel.unsigned ? rows * (mode === 'rows' ? p.outW : width) * 4 + 16 : 0,
    codes: float ? 0 : k + SLACK,
  };
  const beta = float ? 0 : weightBeta(p.weightBits!);
  const { constBytes } = epilogueOf(simd, p, kernel);
  return {
    mode,
    scratch,
    constsBytes: float ? 0 : alignUp(p.groups * channelBlocks * channels * constBytes, 64),
    blocksBytes: p.groups * channelBlocks * segments * blockBytes + SLACK,
    tiles: [coverRow(width, kernel.pixels), coverRow(lastWidth, kernel.pixels)],
    layout: `${runsTotal}x${segments}x${steps}`,
    values: {
      ...values, rows, width, ringRows, ringPitch, convertCount,
      columns: columns * p.groups, columnSumsPitch, groupCodes: mode === 'gathered' ? patch : cg, pixelCodes, patchBytes: patch * size,
      runs, runBytes: converted(p.dilW * p.inC), cuts, cutBytes: converted(steps * step), segments, steps,
      groupBytes: mode === 'gathered' ? 0 : converted(cg), xs: converted(mode === 'rows' ? p.strideW * p.inC : pixelCodes),
      blockBytes, groupBlocksBytes: channelBlocks * segments * blockBytes, groupConstsBytes: channelBlocks * channels * constBytes,
      runsTotal, runLength, cutLength: steps * step,
      constAdd: kernel.unsigned ? kernel.offset * beta * k : 0, constFactor: kernel.offset - p.xZero,
    },
  };
}

// ---- functions

/** What the gather function keeps in locals. */
const GATHER_LOCALS: Readonly<Record<string, string>> = {
  stride: d.patchBytes, tap: d.tapBytes, pixel: d.pixelBytes, fill: d.fill,
  ...Object.fromEntries((['inH', 'inW', 'outH', 'outW', 'kH', 'kW', 'strideH', 'strideW', 'padT', 'padL', 'dilH', 'dilW'] as const).map((f) => [f, d[f]])),
};

export function gatherFunction(simd: boolean): WasmFunction {
  const step = simd ? 16 : 8;
  const loaded = Object.entries(GATHER_LOCALS).map(([name, value]) => ({ name, value }));
  const type = simd ? 'v128' : 'i64';
  return rendered('gather', `gather__${simd ? 'simd128' : 'scalar'}`, { simd, type, step, over: step - 1, loaded });
}

/** Tiles that requantise what they summed up, where the kernel has such. */
const countingTiles = (epilogue: Epilogue, kernel: FamilyKernel, n: Pick<Numbers, 'values'>): readonly WasmFunction[] | null =>
  (epilogue.thresholds && kernel.counting?.(epilogue.thresholds, n.values.segments! * n.values.steps!)) || null;

function convCode(family: Family, p: ConvParams, kernel: FamilyKernel, n: Numbers): ConvCode {
  const simd = family.isa !== 'scalar';
  const suffix = simd ? '' : '__scalar';
  const outShift = p.output === 'codes' ? 0 : 2;
  const epilogue = epilogueOf(simd, p, kernel);
  const counting = countingTiles(epilogue, kernel, n);
  const kind = epilogue.symbol;
  const accs = kernel.channels * 4;
  const tables = FIELDS.length * 4;
  const tileOffset = (i: number): number => 4 * i;
  const tiles = counting ?? kernel.tiles;
  const block = rendered(counting ? 'conv_block_counting' : 'conv_block', `conv_block_${kernel.symbol}_${kind}${counting ? '_counting' : ''}${suffix}`, {
    d, channels: kernel.channels, accs, outShift, outStep: kernel.channels << outShift, epilogue: epilogue.functions[0].name, constStep: kernel.channels * epilogue.constBytes,
    fullTiles: tables, lastTiles: tables + tileOffset(kernel.pixels.length),
    tiles: kernel.pixels.map((count, i) => ({ count, symbol: tiles[i].name, offset: tileOffset(i), accBytes: count * accs })),
    parts: range(Math.ceil(kernel.channels / EPILOGUE_CHANNELS)).map((i) => ({
      first: i * EPILOGUE_CHANNELS, bytes: i * EPILOGUE_CHANNELS * 4, constBytes: i * EPILOGUE_CHANNELS * epilogue.constBytes, outBytes: (i * EPILOGUE_CHANNELS) << outShift,
    })),
  });
  const minusBeta = kernel.unsigned ? -weightBeta(p.weightBits!) : 0;
  const rowSums = kernel.unsigned ? rendered('row_sums', `row_sums${suffix}`, { simd }) : null;
  const convert = kernel.convert?.name ?? '';
  const driver = `conv_${n.mode}_${kernel.symbol}_${kind}${counting ? '_counting' : ''}${suffix}`;
  const functions: (WasmFunction | null)[] = [block, ...(counting ? [] : epilogue.functions), ...tiles, kernel.convert, rowSums];
  if (n.mode === 'rows') {
    const [copy, fill] = [bytesFunction(simd, true), bytesFunction(simd, false)];
    const padded = paddedRow(simd);
    const row = rendered('conv_row', `conv_row_${kernel.convert ? kernel.symbol : 'plain'}${suffix}`, {
      d, row: padded.name, copy: copy.name, convert, rowSums: rowSums?.name ?? '',
    });
    const segments = rendered('conv_segments', 'conv_segments', { d });
    const sums = kernel.unsigned ? rendered('conv_sums', `conv_sums_${-minusBeta}${suffix}`, {
      d, simd, minusBeta, ...(simd
        ? { total: 's', type: 'v128', zero: '(v128.const i32x4 0 0 0 0)', add: 'i32x4.add', step: 16 }
        : { total: 'a', type: 'i32', zero: '(i32.const 0)', add: 'i32.add', step: 4 }),
    }) : null;
    functions.push(
      copy, fill, padded, row, segments, sums,
      rendered('conv_rows', driver, { d, row: row.name, segments: segments.name, block: block.name, sums: sums?.name ?? '' }),
    );
  } else {
    const gather = n.mode === 'gathered' ? gatherFunction(simd) : null;
    functions.push(gather, rendered('conv_patches', driver, {
      d, gather: gather?.name ?? '', convert, block: block.name, rowSums: rowSums?.name ?? '', minusBeta, step: kernel.step, stepLess1: kernel.step - 1,
    }));
  }
  const float = p.kind === 'f32';
  const unpack = float ? null : unpackFunction(p);
  const constants = float ? [] : constantFunctions(epilogue);
  const prepare = rendered('conv_prepare', `conv_prepare_${kernel.symbol}${epilogue.thresholds ? `_${epilogue.symbol}` : ''}${suffix}`, {
    d, channels: kernel.channels, unpack: unpack?.name ?? '', place: kernel.place.name, placeConstant: constants[0]?.name ?? '', size: float ? 4 : 1,
    alphaShift: float ? 0 : weightAlpha(p.weightBits!) - 1, beta: float ? 0 : weightBeta(p.weightBits!),
  });
  functions.push(unpack, kernel.place, ...constants, prepare);
  return { functions: functions.filter((f) => f !== null), run: driver, prepare: prepare.name, descriptorBytes: tables + 8 * kernel.pixels.length };
}

const descriptor = (n: Numbers, a: Addresses): Int32Array => descriptorOf(n.values, scratchOffsets(n.scratch).at, n.constsBytes, a, n.tiles.flat());

/** The variant of a family. */
export function familyVariant(family: Family): WasmVariant {
  /** Of the last call: everything about a call is asked in turn. */
  let last: { readonly p: ConvParams; readonly kernel: FamilyKernel; readonly numbers: Numbers } | null = null;
  const of = (p: ConvParams): NonNullable<typeof last> => {
    if (last?.p === p) return last;
    const kernel = family.specialise(p);
    return (last = { p, kernel, numbers: numbersOf(p, kernel, family.isa !== 'scalar') });
  };
  /** A part has the kernel, and so the weights, of the whole. */
  const partOf = (p: ConvParams, part: ConvParams = p): Numbers => {
    const { kernel, numbers: whole } = of(p);
    if (part === p) return whole;
    const numbers = numbersOf(part, kernel, family.isa !== 'scalar');
    if (numbers.mode !== whole.mode || numbers.layout !== whole.layout) fail('E901', 'a part of a convolution that would run otherwise than the whole');
    return numbers;
  };
  return {
    name: family.name,
    kernel: family.kernel,
    isa: family.isa,
    accepts: family.accepts,
    cost: family.cost,
    packing: family.packing,
    scratch: (p, part) => scratchOffsets(partOf(p, part).scratch).bytes,
    prepared: (p) => of(p).numbers.constsBytes + of(p).numbers.blocksBytes,
    symbol: (p) => `${of(p).kernel.symbol}_${epilogueOf(family.isa !== 'scalar', p, of(p).kernel).symbol}_${of(p).numbers.layout}__${family.isa}`,
    code: (p) => convCode(family, p, of(p).kernel, of(p).numbers),
    descriptor: (p, addresses, part) => descriptor(partOf(p, part), addresses),
  };
}
