/**
 * Depthwise convolution (one channel in and out a group): four channels in lanes, their taps in registers. Integers come in
 * interleaved pairs of rows, so that i32x4.dot_i16x8_s takes two taps of a column at once; windows that begin with the second row
 * of a pair have weights of their own.
 */
import { type KernelName, alignUp } from '@bitloom/codegen';
import { type ConvParams, convK, convMacs } from '@bitloom/kernel-spec';
import { weightAlpha, weightBeta } from '@bitloom/numerics';
import { FIELDS, SLACK, type Field, bytesFunction, d, descriptorOf, geometry, paddedRow, scratchOffsets, unpackFunction } from './descriptor.js';
import { type Isa, type WasmFunction, integerPacking } from './family.js';
import { range, rendered } from './render.js';
import type { ConvCode, WasmVariant } from './variants.js';

/** Bytes of four channels: pairs of i16, or f32. */
const VECTOR = 16;
/** Taps of a channel that may be held in locals. */
const MAX_TAPS = 64;
/** Bytes of input that a part of a row may touch, so that all channels find it in the first-level cache. */
const PART_BYTES = 24576;

interface Shape {
  readonly simd: boolean;
  readonly float: boolean;
  /** Rows come in pairs. */
  readonly pairs: boolean;
  /** Rows (of the ring) under a window. */
  readonly slots: number;
  /** Pixels of a tile. */
  readonly pixels: number;
  /** Bytes of an element in the ring; pairs are together. */
  readonly element: number;
}

function shapeOf(isa: Isa, p: ConvParams): Shape {
  const simd = isa !== 'scalar';
  const float = p.kind === 'f32';
  const pairs = simd && !float;
  // Dilated taps never share a pair.
  return { simd, float, pairs, slots: pairs && p.dilH === 1 ? (p.kH >> 1) + 1 : p.kH, pixels: !simd ? 1 : p.outW > 2 ? 4 : 2, element: simd || float ? 4 : 1 };
}

const weightsBytes = (s: Shape, p: ConvParams): number =>
  s.simd ? (s.pairs ? 2 : 1) * Math.ceil(p.groups / 4) * s.slots * p.kW * VECTOR : p.groups * convK(p) * s.element;

function numbersOf(isa: Isa, p: ConvParams): {
  readonly values: Partial<Record<Field, number>>; readonly scratch: Record<'ring' | 'stage' | 'slots' | 'codes', number>; readonly constsBytes: number;
} {
  const s = shapeOf(isa, p);
  const { columns, values } = geometry(p);
  const reach = values.reach!;
  const ringRows = s.pairs ? (reach >> 1) + 1 : reach;
  // Pixels of a tile may lie outside.
  const ringPitch = alignUp((columns + (s.pixels - 1) * p.strideW) * p.inC * s.element + SLACK, SLACK);
  const columnBytes = s.slots * p.inC * s.element * p.strideW;
  const parts = Math.ceil(p.outW / Math.max(8, Math.floor(PART_BYTES / columnBytes)));
  return {
    constsBytes: s.float ? 0 : alignUp(p.groups * 4, SLACK),
    scratch: { ring: ringRows * ringPitch, stage: s.pairs ? p.inW * p.inC + SLACK : 0, slots: 4 * s.slots, codes: s.float ? 0 : convK(p) + SLACK },
    values: {
      ...values, ringRows, ringPitch, width: s.pixels * Math.ceil(p.outW / parts / s.pixels),
      xs: p.strideW * p.inC * s.element, tapStep: p.dilW * p.inC * s.element,
      constFactor: -p.xZero, groupBlocksBytes: s.pairs ? weightsBytes(s, p) / 2 : 0,
    },
  };
}

/** Windows of neighbouring pixels share columns, and leave none out. */
const shares = (p: ConvParams): boolean => p.dilW === 1 && p.strideW <= p.kW;

/** Columns under neighbouring pixels in order, the taps that each is, and the step to the next. */
function columnsOf(p: ConvParams, pixels: readonly number[], slot: number): object[] {
  const use = (pixel: number, kw: number): object => ({ pixel, name: `${slot}_${kw}` });
  const tap = '(i32.add (local.get $c) (local.get $tap))';
  if (shares(p)) {
    const count = p.kW + (pixels.length - 1) * p.strideW;
    return range(count).map((j) => ({
      uses: pixels.flatMap((i) => (j >= i * p.strideW && j < i * p.strideW + p.kW ? [use(i, j - i * p.strideW)] : [])),
      step: j + 1 < count ? tap : '',
    }));
  }
  return pixels.flatMap((pixel) => range(p.kW).map((kw) => ({
    uses: [use(pixel, kw)],
    step: kw + 1 < p.kW ? tap : pixel + 1 < pixels.length ? `(i32.add (local.get $x${slot}) (i32.mul (local.get $xs) (i32.const ${pixel + 1})))` : '',
  })));
}

function tileFunction(s: Shape, p: ConvParams, kind: string): WasmFunction {
  const codes = kind === 'codes';
  if (!s.simd) {
    return rendered('depthwise_tile_scalar', `depthwise_tile_${s.float ? 'f32' : 'int8'}_${kind}__scalar`, {
      d, integer: !s.float, codes, type: s.float ? 'f32' : 'i32', loadW: s.float ? 'f32.load' : 'i32.load8_s', loadX: s.float ? 'f32.load' : 'i32.load8_u',
      size: s.element, outStep: codes ? 1 : 4,
    });
  }
  const slots = range(s.slots);
  const pixels = range(s.pixels);
  const weights = slots.flatMap((slot) => range(p.kW).map((kw) => ({ name: `${slot}_${kw}`, offset: VECTOR * (slot * p.kW + kw) })));
  const store = (i: number): string =>
    codes ? `(v128.store32_lane align=1 ${i} (local.get $to${i}) (local.get $v))` : `(v128.store align=4 (local.get $to${i}) (local.get $a${i}))`;
  const storeLane = (i: number, lane: number): string => codes
    ? `(v128.store8_lane offset=${lane} ${4 * i + lane} (local.get $to${i}) (local.get $v))`
    : `(v128.store32_lane offset=${4 * lane} align=4 ${lane} (local.get $to${i}) (local.get $a${i}))`;
  const narrow = (i: number): string => `(i16x8.narrow_i32x4_s (local.get $a${i}) (local.get $a${i + 1}))`;
  return rendered('depthwise_tile', `depthwise_tile_${s.float ? 'f32' : 'int8'}_${s.pixels}_${s.slots}x${p.kW}_${shares(p) ? p.strideW : 'apart'}_${kind}`, {
    d, codes, integer: !s.float, weights, weightBytes: VECTOR * weights.length, outStep: codes ? 4 : 16,
    pixelCount: s.pixels, lastPixel: s.pixels - 1, pixels: pixels.map((index) => ({ index, before: index - 1, store: store(index) })),
    packed: `(i8x16.narrow_i16x8_u ${narrow(0)} ${narrow(s.pixels - 2)})`,
    slots: slots.map((index) => ({ index, offset: 4 * index, columns: columnsOf(p, pixels, index) })),
    add: s.float ? 'f32x4.add' : 'i32x4.add', multiply: s.float ? 'f32x4.mul' : 'i32x4.dot_i16x8_s',
    partial: range(3).map((lane) => ({ lane, stores: pixels.map((index) => ({ index, store: storeLane(index, lane) })) })),
  });
}

function prepareFunction(s: Shape, p: ConvParams, unpack: WasmFunction | null): WasmFunction {
  const bits = p.weightBits;
  const value = bits && `(i32.sub (i32.shl (i32.load8_u (local.get $from)) (i32.const ${weightAlpha(bits) - 1})) (i32.const ${weightBeta(bits)}))`;
  // [parity][four channels][slot][kw][channel][half], or [channel][kh][kw] without vectors.
  const slot = !s.pairs ? '(local.get $kh)' : p.dilH === 1 ? '(i32.shr_u (local.get $r) (i32.const 1))' : '(local.get $kh)';
  const tap = `(i32.add (i32.mul ${slot} ${d.kW}) (local.get $kw))`;
  const to = s.simd
    ? `(i32.add (i32.add ${d.blocks} (i32.mul (local.get $q) ${d.groupBlocksBytes}))
            (i32.add (i32.shl (i32.add (i32.mul (i32.mul (i32.shr_u (local.get $c) (i32.const 2)) (i32.const ${s.slots})) ${d.kW}) ${tap}) (i32.const 4))
              (i32.add (i32.shl (i32.and (local.get $c) (i32.const 3)) (i32.const 2))
                ${s.pairs ? '(i32.shl (i32.and (local.get $r) (i32.const 1)) (i32.const 1))' : '(i32.const 0)'})))`
    : `(i32.add ${d.blocks} (i32.mul (i32.add (i32.mul (local.get $c) ${d.k}) ${tap}) (i32.const ${s.element})))`;
  const store = s.float ? '(f32.store (local.get $to) (f32.load (local.get $from)))' : `(${s.simd ? 'i32.store16' : 'i32.store8'} (local.get $to) ${value})`;
  const name = `depthwise_prepare_${s.float ? 'f32' : `w${bits}`}${s.simd ? `_${s.slots}${p.dilH === 1 ? '' : '_dilated'}` : '__scalar'}`;
  return rendered('depthwise_prepare', name, {
    d, integer: !s.float, pairs: s.pairs, parities: s.pairs ? 2 : 1, unpack: unpack?.name ?? '', to, store, size: s.float ? 4 : 1,
    alphaShift: bits ? weightAlpha(bits) - 1 : 0, beta: bits ? weightBeta(bits) : 0,
  });
}

function codeOf(isa: Isa, p: ConvParams): ConvCode {
  const s = shapeOf(isa, p);
  const kind = s.float ? 'bias' : p.output;
  const suffix = s.simd ? '' : '__scalar';
  const [copy, fill] = [bytesFunction(s.simd, true), bytesFunction(s.simd, false)];
  const padded = paddedRow(s.simd);
  const fillPairs = rendered('bytes', 'fill_i16', { copy: false, step: 16, over: 15, type: 'v128', splat: '(i16x8.splat (local.get $value))' });
  const row = s.pairs
    ? rendered('depthwise_pair', 'depthwise_pair', { d, fill: fill.name, fillPairs: fillPairs.name, rows: [0, 1] })
    : rendered('conv_row', `conv_row_plain${suffix}`, { d, row: padded.name, copy: copy.name, convert: '', rowSums: '' });
  const tile = tileFunction(s, p, kind);
  const unpack = s.float ? null : unpackFunction(p);
  const prepare = prepareFunction(s, p, unpack);
  const half = (r: string): string => (s.pairs ? `(i32.shr_u ${r} (i32.const 1))` : r);
  const apart = p.dilH > 1;
  const slots = range(s.slots).map((i) => ({
    offset: 4 * i,
    row: s.pairs && !apart ? `(i32.add ${half('(local.get $v)')} (i32.const ${i}))` : half(`(i32.add (local.get $v) (i32.mul ${d.dilH} (i32.const ${i})))`),
  }));
  const run = rendered('depthwise', `depthwise_${tile.name.slice('depthwise_tile_'.length)}${s.pairs && apart ? '_dilated' : ''}${s.simd ? '' : `_${s.slots}`}`, {
    d, pairs: s.pairs, row: row.name, tile: tile.name, slots, first: half('(local.get $v)'),
  });
  return {
    functions: [run, row, ...(s.pairs ? [fill, fillPairs] : [padded, copy, fill]), tile, prepare, unpack].filter((f) => f !== null),
    run: run.name, prepare: prepare.name, descriptorBytes: 4 * FIELDS.length,
  };
}

const outputs = (p: ConvParams): number => p.batch * p.outH * p.outW * p.outC;

function variant(isa: Isa, float: boolean): WasmVariant {
  const kernel: KernelName = float ? 'f32' : 'depthwise';
  return {
    name: `${float ? 'f32_depthwise' : 'depthwise'}__${isa}`,
    kernel,
    isa,
    accepts: (p) => {
      const s = shapeOf(isa, p);
      return s.float === float && p.groups > 1 && p.groups === p.inC && p.groups === p.outC && (!s.simd || s.slots * p.kW <= MAX_TAPS);
    },
    cost: (p) => (isa === 'scalar' ? convMacs(p) + 3 * outputs(p) : convMacs(p) / 20 + 0.2 * outputs(p)),
    packing: (p) => (float ? 'f32' : integerPacking(p)),
    scratch: (p, part = p) => scratchOffsets(numbersOf(isa, part).scratch).bytes,
    prepared: (p) => numbersOf(isa, p).constsBytes + weightsBytes(shapeOf(isa, p), p),
    symbol: (p) => `${kernel}_w${p.weightBits ?? 32}_${p.dilH === 1 ? 'joined' : 'apart'}__${isa}`,
    code: (p) => codeOf(isa, p),
    descriptor: (p, a, part = p) => {
      const n = numbersOf(isa, part);
      return descriptorOf(n.values, scratchOffsets(n.scratch).at, n.constsBytes, a);
    },
  };
}

export const DEPTHWISE: readonly WasmVariant[] = (['simd128', 'scalar'] as const).flatMap((isa) => [variant(isa, false), variant(isa, true)]);
