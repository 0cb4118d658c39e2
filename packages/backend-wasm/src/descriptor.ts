/** Descriptors of convolution calls: a row of words in constant memory from which the functions of a call read sizes and addresses. */

import { alignUp } from '@bitloom/codegen';
import { type ConvParams, convK } from '@bitloom/kernel-spec';
import type { WasmFunction } from './family.js';
import { range, rendered } from './render.js';
import type { Addresses } from './variants.js';

/** Words of a descriptor, in order; tables of tiles may follow. All i32 but `lo` and `hi`. */
export const FIELDS = [
  // Addresses: operands; prepared weights; scratch.
  'x', 'y', 'weights', 'scale', 'offset', 'consts', 'blocks', 'ring', 'stage', 'segs', 'acc', 'columnSums', 'totals', 'sums', 'codes', 'slots',
  // Geometry.
  'batch', 'inH', 'inW', 'outH', 'outW', 'kH', 'kW', 'strideH', 'strideW', 'padT', 'padL', 'dilH', 'dilW', 'groups', 'og', 'pixels', 'k',
  'tapBytes', 'pixelBytes', 'outPixelBytes', 'inRowBytes', 'fill', 'lo', 'hi',
  // Blocks: rows, pixels of a row, input rows under one window.
  'rows', 'width', 'reach',
  // The ring, its rows in bytes of input and in codes to convert, and sums of their columns.
  'ringRows', 'ringPitch', 'leftBytes', 'insideBytes', 'rightBytes', 'convertCount', 'columns', 'columnSumsPitch', 'groupCodes', 'pixelCodes',
  // Gathered patches.
  'patchBytes',
  // Segments: runs of a kernel row and the distance between them, cuts of a run and their distance, all of a window; steps of each.
  'runs', 'runBytes', 'cuts', 'cutBytes', 'segments', 'steps',
  // Converted bytes between groups, between pixels, and (depthwise) between taps.
  'groupBytes', 'xs', 'tapStep',
  // Prepared weights: bytes of a segment's block and of a group, elements of runs and cuts, packed bytes of a row.
  'blockBytes', 'groupBlocksBytes', 'groupConstsBytes', 'runsTotal', 'runLength', 'cutLength', 'weightRow', 'constAdd', 'constFactor',
] as const;
export type Field = (typeof FIELDS)[number];

const at = (f: Field): number => 4 * FIELDS.indexOf(f);
/** Text that loads each field, and that gives its address. */
export const d = {
  ...(Object.fromEntries(FIELDS.map((f) => [f, `(i32.load offset=${at(f)} (local.get $d))`])) as Record<Field, string>),
  at: { lo: `(i32.add (local.get $d) (i32.const ${at('lo')}))`, hi: `(i32.add (local.get $d) (i32.const ${at('hi')}))` },
};

export const floatBits = (v: number): number => new Int32Array(Float32Array.of(v).buffer)[0];

/** Bytes that copies, conversions and loads may go too far. */
export const SLACK = 64;

/** Offsets of scratch regions of the given sizes, one after another, and the size of all. */
export function scratchOffsets<K extends string>(sizes: Readonly<Record<K, number>>): { readonly at: Readonly<Record<K, number>>; readonly bytes: number } {
  const offsets = {} as Record<K, number>;
  let bytes = 0;
  for (const [name, size] of Object.entries(sizes) as [K, number][]) {
    offsets[name] = bytes;
    bytes += alignUp(size, SLACK);
  }
  return { at: offsets, bytes };
}

/** The words of a descriptor. */
export function descriptorOf(
  values: Readonly<Partial<Record<Field, number>>>, scratch: Readonly<Partial<Record<Field, number>>>, constsBytes: number, a: Addresses,
  rest: readonly number[] = [],
): Int32Array {
  const all: Partial<Record<Field, number>> = {
    ...values, ...Object.fromEntries(Object.entries(scratch).map(([name, offset]) => [name, a.scratch + offset])),
    x: a.args[0], weights: a.args[1], scale: a.args[2], offset: a.args[3] ?? 0, y: a.result, consts: a.prepared, blocks: a.prepared + constsBytes,
  };
  return Int32Array.from([...FIELDS.map((f) => all[f] ?? 0), ...rest]);
}

/** Fields that are the same for every kernel. `columns` of input are what windows of a row touch, pads included. */
export function geometry(p: ConvParams): { readonly columns: number; readonly values: Readonly<Partial<Record<Field, number>>> } {
  const float = p.kind === 'f32';
  const size = float ? 4 : 1;
  const k = convK(p);
  const columns = (p.outW - 1) * p.strideW + (p.kW - 1) * p.dilW + 1;
  const left = Math.min(p.padL, columns);
  const inside = Math.max(0, Math.min(p.inW, columns - left));
  return {
    columns,
    values: {
      batch: p.batch, inH: p.inH, inW: p.inW, outH: p.outH, outW: p.outW, kH: p.kH, kW: p.kW, strideH: p.strideH, strideW: p.strideW,
      padT: p.padT, padL: p.padL, dilH: p.dilH, dilW: p.dilW, groups: p.groups, og: p.outC / p.groups, pixels: p.batch * p.outH * p.outW, k,
      tapBytes: (p.inC / p.groups) * size, pixelBytes: p.inC * size, outPixelBytes: p.outC * (p.output === 'codes' ? 1 : 4),
      inRowBytes: p.inW * p.inC * size, fill: float ? 0 : p.xZero, lo: floatBits(p.lo), hi: floatBits(p.hi),
      reach: (p.kH - 1) * p.dilH + 1,
      leftBytes: left * p.inC * size, insideBytes: inside * p.inC * size, rightBytes: (columns - left - inside) * p.inC * size,
      weightRow: float ? 4 * k : p.weightBits === 8 ? k : p.weightBits! * Math.ceil(k / 8),
    },
  };
}

// ---- functions that kernels share

/** Copying and filling bytes, 16 or 8 at a time. */
export function bytesFunction(simd: boolean, copy: boolean): WasmFunction {
  const step = simd ? 16 : 8;
  const splat = simd ? '(i8x16.splat (local.get $value))' : '(i64.mul (i64.extend_i32_u (local.get $value)) (i64.const 0x0101010101010101))';
  return rendered('bytes', `${copy ? 'copy' : 'fill'}__${simd ? 'simd128' : 'scalar'}`, { copy, step, over: step - 1, type: simd ? 'v128' : 'i64', splat });
}

export function unpackFunction(p: ConvParams): WasmFunction {
  const bits = p.weightBits!;
  return rendered('unpack_codes', `unpack_codes_w${bits}`, { bytes: bits === 8, bits, planes: range(bits) });
}

/** A row of the image with its padding; needs both of {@link bytesFunction}. */
export const paddedRow = (simd: boolean): WasmFunction =>
  rendered('padded_row', `padded_row__${simd ? 'simd128' : 'scalar'}`, { d, copy: bytesFunction(simd, true).name, fill: bytesFunction(simd, false).name });
