/**
 * Depthwise convolution (one channel in and out a group): channels in lanes, their taps in registers.
 *
 * Sums of few bits fit 16 bits, so that a vector is eight channels: of products of rows widened on load, or, relaxed, of dots of bytes in pairs
 * of rows. Other integers are sums of 32 bits of four channels, of dots of i16 in pairs of rows. Pairs of rows are interleaved; windows that begin with the second
 * row of a pair have weights of their own.
 */
import { type KernelName, alignUp } from '@bitloom/codegen';
import { type ConvParams, PLAIN_SUMS, convK, convMacs, sumsFit, thresholdsOf } from '@bitloom/kernel-spec';
import { weightAlpha, weightBeta } from '@bitloom/numerics';
import { FIELDS, SLACK, type Field, bytesFunction, d, descriptorOf, geometry, paddedRow, scratchOffsets, unpackFunction } from './descriptor.js';
import { EPILOGUE_CHANNELS, codesAbove, isClamped, storeCodes, thresholdsFunction } from './epilogue.js';
import { type Isa, type WasmFunction, integerPacking } from './family.js';
import { range, rendered } from './render.js';
import type { ConvCode, WasmVariant } from './variants.js';

/** Bytes of a vector. */
const VECTOR = 16;
/** Taps of a channel that may be held in locals. */
const MAX_TAPS = 64;
/** Bytes of input that a part of a row may touch, so that all channels find it in the first-level cache. */
const PART_BYTES = 24576;

/** How a vector sums: f32 products; i32 dots of pairs of i16; i16 products; i16 dots of pairs of bytes; or there are none. */
type Form = 'float' | 'dot16' | 'multiply' | 'dot8' | 'scalar';

interface Shape {
  readonly form: Form;
  readonly float: boolean;
  /** Rows come in pairs. */
  readonly pairs: boolean;
  /** Channels of a vector. */
  readonly lanes: number;
  /** Rows (of the ring) under a window. */
  readonly slots: number;
  /** Pixels of a tile. */
  readonly pixels: number;
  /** Bytes of an element in the ring; pairs are together. */
  readonly element: number;
  /** Bytes of the constants of `lanes` channels. */
  readonly constBytes: number;
  /** Thresholds that sums are compared with, 0 where they are multiplied. */
  readonly thresholds: number;
}

/** Whether sums, which are over u, −zero point · Σv included from the start, fit 16 bits. */
const isNarrow = (p: ConvParams): boolean => p.kind === 'int' && p.output === 'codes' && sumsFit(p, PLAIN_SUMS);

function shapeOf(isa: Isa, p: ConvParams): Shape {
  const float = p.kind === 'f32';
  const form: Form = isa === 'scalar' ? 'scalar' : float ? 'float' : isNarrow(p) ? (isa === 'relaxed' ? 'dot8' : 'multiply') : 'dot16';
  const pairs = form === 'dot16' || form === 'dot8';
  const lanes = form === 'dot8' || form === 'multiply' ? EPILOGUE_CHANNELS : 4;
  const thresholds = lanes === EPILOGUE_CHANNELS ? thresholdsOf(p, PLAIN_SUMS) : 0;
  return {
    form, float, pairs, lanes, thresholds,
    // Dilated taps never share a pair.
    slots: pairs && p.dilH === 1 ? (p.kH >> 1) + 1 : p.kH,
    pixels: form === 'scalar' ? 1 : p.outW > 2 ? 4 : 2,
    element: { float: 4, dot16: 4, dot8: 2, multiply: 2, scalar: float ? 4 : 1 }[form],
    constBytes: float ? 0 : VECTOR * (1 + thresholds),
  };
}

const weightsBytes = (s: Shape, p: ConvParams): number =>
  s.form === 'scalar' ? p.groups * convK(p) * s.element : (s.pairs ? 2 : 1) * Math.ceil(p.groups / s.lanes) * s.slots * p.kW * VECTOR;

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
    constsBytes: alignUp(Math.ceil(p.groups / s.lanes) * s.constBytes, SLACK),
    scratch: { ring: ringRows * ringPitch, stage: s.pairs || s.form === 'multiply' ? columns * p.inC + 2 * SLACK : 0, slots: 4 * s.slots, codes: s.float ? 0 : convK(p) + SLACK },
    values: {
      ...values, convertCount: columns * p.inC, ringRows, ringPitch, width: s.pixels * Math.ceil(p.outW / parts / s.pixels),
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
  if (s.form === 'scalar') {
    return rendered('depthwise_tile_scalar', `depthwise_tile_${s.float ? 'f32' : 'int8'}_${kind}__scalar`, {
      d, integer: !s.float, codes, type: s.float ? 'f32' : 'i32', loadW: s.float ? 'f32.load' : 'i32.load8_s', loadX: s.float ? 'f32.load' : 'i32.load8_u',
      size: s.element, outStep: codes ? 1 : 4,
    });
  }
  const slots = range(s.slots);
  const pixels = range(s.pixels);
  const weights = slots.flatMap((slot) => range(p.kW).map((kw) => ({ name: `${slot}_${kw}`, offset: VECTOR * (slot * p.kW + kw) })));
  const bounded = !s.thresholds && isClamped(p);
  const shape = `${s.pixels}_${s.slots}x${p.kW}_${shares(p) ? p.strideW : 'apart'}${bounded ? '_bounded' : ''}`;
  const view = {
    d, bounded, weights, weightBytes: VECTOR * weights.length, xStep: s.lanes * s.element, constBytes: s.constBytes, scaleStep: 4 * s.lanes, lanes: s.lanes,
    outStep: codes ? s.lanes : 4 * s.lanes, pixelCount: s.pixels, lastPixel: s.pixels - 1,
    slots: slots.map((index) => ({ index, offset: 4 * index, columns: columnsOf(p, pixels, index) })),
  };
  if (s.lanes === EPILOGUE_CHANNELS) {
    return rendered('depthwise_tile_narrow', `depthwise_tile_${s.form}_${shape}_${s.thresholds ? `thresholds${s.thresholds}` : kind}`, {
      ...view,
      multiply: s.form === 'multiply' ? 'i16x8.mul' : 'i16x8.relaxed_dot_i8x16_i7x16_s',
      thresholds: range(s.thresholds).map((index) => ({ index, offset: VECTOR * (1 + index) })),
      storeCodes: storeCodes.name,
      pixels: pixels.map((index) => ({
        index, before: index - 1, lane: index % 2, even: index - (index % 2), above: codesAbove(`a${index}`, range(s.thresholds).map((j) => `t${j}`)),
      })),
      halves: [{ name: 'b', half: 'low', at: 0 }, { name: 'h', half: 'high', at: 1 }],
    });
  }
  const store = (i: number): string =>
    codes ? `(v128.store32_lane align=1 ${i} (local.get $to${i}) (local.get $v))` : `(v128.store align=4 (local.get $to${i}) (local.get $a${i}))`;
  const storeLane = (i: number, lane: number): string => codes
    ? `(v128.store8_lane offset=${lane} ${4 * i + lane} (local.get $to${i}) (local.get $v))`
    : `(v128.store32_lane offset=${4 * lane} align=4 ${lane} (local.get $to${i}) (local.get $a${i}))`;
  const narrow = (i: number): string => `(i16x8.narrow_i32x4_s (local.get $a${i}) (local.get $a${i + 1}))`;
  return rendered('depthwise_tile', `depthwise_tile_${s.form}_${shape}_${kind}`, {
    ...view, codes, integer: !s.float,
    pixels: pixels.map((index) => ({ index, before: index - 1, store: store(index) })),
    packed: `(i8x16.narrow_i16x8_u ${narrow(0)} ${narrow(s.pixels - 2)})`,
    add: s.float ? 'f32x4.add' : 'i32x4.add', multiply: s.float ? 'f32x4.mul' : 'i32x4.dot_i16x8_s',
    partial: range(3).map((lane) => ({ lane, stores: pixels.map((index) => ({ index, store: storeLane(index, lane) })) })),
  });
}

function prepareFunction(s: Shape, p: ConvParams, unpack: WasmFunction | null, thresholds: WasmFunction | null): WasmFunction {
  const bits = p.weightBits;
  const value = bits && `(i32.sub (i32.shl (i32.load8_u (local.get $from)) (i32.const ${weightAlpha(bits) - 1})) (i32.const ${weightBeta(bits)}))`;
  // [parity][channels of a vector][slot][kw][channel][half], or [channel][kh][kw] without vectors.
  const slot = !s.pairs ? '(local.get $kh)' : p.dilH === 1 ? '(i32.shr_u (local.get $r) (i32.const 1))' : '(local.get $kh)';
  const tap = `(i32.add (i32.mul ${slot} ${d.kW}) (local.get $kw))`;
  const [laneShift, sizeShift] = [Math.log2(s.lanes), Math.log2(VECTOR / s.lanes)];
  const to = s.form === 'scalar'
    ? `(i32.add ${d.blocks} (i32.mul (i32.add (i32.mul (local.get $c) ${d.k}) ${tap}) (i32.const ${s.element})))`
    : `(i32.add (i32.add ${d.blocks} (i32.mul (local.get $q) ${d.groupBlocksBytes}))
            (i32.add (i32.shl (i32.add (i32.mul (i32.mul (i32.shr_u (local.get $c) (i32.const ${laneShift})) (i32.const ${s.slots})) ${d.kW}) ${tap}) (i32.const 4))
              (i32.add (i32.shl (i32.and (local.get $c) (i32.const ${s.lanes - 1})) (i32.const ${sizeShift}))
                ${s.pairs ? `(i32.shl (i32.and (local.get $r) (i32.const 1)) (i32.const ${sizeShift - 1}))` : '(i32.const 0)'})))`;
  const store = s.float ? '(f32.store (local.get $to) (f32.load (local.get $from)))'
    : `(${s.form === 'scalar' || s.form === 'dot8' ? 'i32.store8' : 'i32.store16'} (local.get $to) ${value})`;
  const name = `depthwise_prepare_${s.float ? 'f32' : `w${bits}`}_${s.form}${s.form === 'scalar' ? '' : `_${s.slots}${p.dilH === 1 ? '' : '_dilated'}`}`;
  return rendered('depthwise_prepare', `${name}${thresholds ? `_${thresholds.name}` : ''}`, {
    d, integer: !s.float, pairs: s.pairs, parities: s.pairs ? 2 : 1, unpack: unpack?.name ?? '', to, store, size: s.float ? 4 : 1,
    alphaShift: bits ? weightAlpha(bits) - 1 : 0, beta: bits ? weightBeta(bits) : 0,
    thresholds: thresholds?.name ?? '', vector: VECTOR, storeConst: s.lanes === EPILOGUE_CHANNELS ? 'i32.store16' : 'i32.store',
    const: `(i32.add ${d.consts} (i32.add (i32.mul (i32.shr_u (local.get $c) (i32.const ${laneShift})) (i32.const ${s.constBytes}))
      (i32.shl (i32.and (local.get $c) (i32.const ${s.lanes - 1})) (i32.const ${sizeShift}))))`,
  });
}

function codeOf(isa: Isa, p: ConvParams): ConvCode {
  const s = shapeOf(isa, p);
  const kind = s.float ? 'bias' : p.output;
  const simd = s.form !== 'scalar';
  const suffix = simd ? '' : '__scalar';
  const [copy, fill] = [bytesFunction(simd, true), bytesFunction(simd, false)];
  const padded = paddedRow(simd);
  const bytes = s.form === 'dot8';
  const fillPairs = bytes ? fill : rendered('bytes', 'fill_i16', { copy: false, step: 16, over: 15, type: 'v128', splat: '(i16x8.splat (local.get $value))' });
  const widen = s.form === 'multiply' ? rendered('convert_i16', 'convert_i16', {}) : null;
  const row = s.pairs
    ? rendered('depthwise_pair', `depthwise_pair${bytes ? '_i8' : ''}`, {
      d, fill: fill.name, fillPairs: fillPairs.name, rows: [0, 1], bytes, elementShift: bytes ? 1 : 2, step: 16 * s.element,
    })
    : rendered('conv_row', `conv_row_${widen ? 'i16' : 'plain'}${suffix}`, { d, row: padded.name, copy: copy.name, convert: widen?.name ?? '', rowSums: '' });
  const tile = tileFunction(s, p, kind);
  const unpack = s.float ? null : unpackFunction(p);
  const thresholds = s.thresholds ? thresholdsFunction(s.thresholds) : null;
  const prepare = prepareFunction(s, p, unpack, thresholds);
  const half = (r: string): string => (s.pairs ? `(i32.shr_u ${r} (i32.const 1))` : r);
  const apart = p.dilH > 1;
  const slots = range(s.slots).map((i) => ({
    offset: 4 * i,
    row: s.pairs && !apart ? `(i32.add ${half('(local.get $v)')} (i32.const ${i}))` : half(`(i32.add (local.get $v) (i32.mul ${d.dilH} (i32.const ${i})))`),
  }));
  const run = rendered('depthwise', `depthwise_${tile.name.slice('depthwise_tile_'.length)}${s.pairs && apart ? '_dilated' : ''}${simd ? '' : `_${s.slots}`}`, {
    d, pairs: s.pairs, row: row.name, tile: tile.name, slots, first: half('(local.get $v)'),
  });
  return {
    functions: [run, row, ...(s.pairs ? [fill, fillPairs] : [padded, copy, fill, widen]), tile, s.lanes === EPILOGUE_CHANNELS ? storeCodes : null, prepare, thresholds, unpack].filter((f) => f !== null),
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
      return s.float === float && p.groups > 1 && p.groups === p.inC && p.groups === p.outC && (s.form === 'scalar' || s.slots * p.kW <= MAX_TAPS) &&
        // Relaxed dots are of i7.
        (isa !== 'relaxed' || (s.form === 'dot8' && p.activationBits! < 8));
    },
    cost: (p) => {
      const { lanes } = shapeOf(isa, p);
      return isa === 'scalar' ? convMacs(p) + 3 * outputs(p) : convMacs(p) / (isa === 'relaxed' ? 60 : 5 * lanes) + (0.8 / lanes) * outputs(p);
    },
    packing: (p) => (float ? 'f32' : integerPacking(p)),
    scratch: (p, part = p) => scratchOffsets(numbersOf(isa, part).scratch).bytes,
    prepared: (p) => numbersOf(isa, p).constsBytes + weightsBytes(shapeOf(isa, p), p),
    symbol: (p) => {
      const { form, thresholds } = shapeOf(isa, p);
      return `${kernel}_w${p.weightBits ?? 32}_${form}${thresholds}${isClamped(p) ? '_bounded' : ''}_${p.dilH === 1 ? 'joined' : 'apart'}__${isa}`;
    },
    code: (p) => codeOf(isa, p),
    descriptor: (p, a, part = p) => {
      const n = numbersOf(isa, part);
      return descriptorOf(n.values, scratchOffsets(n.scratch).at, n.constsBytes, a);
    },
  };
}

export const DEPTHWISE: readonly WasmVariant[] = [variant('relaxed', false), ...(['simd128', 'scalar'] as const).flatMap((isa) => [variant(isa, false), variant(isa, true)])];
