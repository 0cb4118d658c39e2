/**
 * The functions that hot kernels are made of: one template each, a view that does all arithmetic before the template renders,
 * and checks of its parameters. Functions are named by what specialises them, so that calls share them.
 */
import { fail } from '@bitloom/diagnostics';
import { weightAlpha, weightBeta } from '@bitloom/numerics';
import type { Isa, WasmFunction } from './family.js';
import { range, rendered, requireBits } from './render.js';

const isSimd = (isa: Isa): boolean => isa === 'simd128';

// ---- pieces

export function gather(isa: Isa): WasmFunction {
  const simd = isSimd(isa);
  const step = simd ? 16 : 8;
  return rendered('gather', `gather__${isa}`, { simd, type: simd ? 'v128' : 'i64', step, over: step - 1 });
}

export function unpack(isa: Isa, weightBits: number, layout: 'panels' | 'taps'): WasmFunction {
  const bits = requireBits(weightBits);
  const simd = isSimd(isa);
  return rendered('unpack', `unpack_${layout}_w${bits}__${isa}`, {
    simd,
    type: simd ? 'v128' : 'i32',
    taps: layout === 'taps',
    bytes: bits === 8,
    bits,
    top: bits - 1,
    planes: range(bits),
    binary: weightAlpha(bits) === 2,
    beta: weightBeta(bits),
    lanes: range(8),
    pairs: range(4).map((lane) => ({ lane, offset: 16 * lane })),
  });
}

export function widen(isa: Isa): WasmFunction {
  const simd = isSimd(isa);
  return rendered('widen', `widen__${isa}`, { simd, srcStep: simd ? 16 : 1, dstStep: simd ? 32 : 2 });
}

export function packActivations(isa: Isa, activationBits: number): WasmFunction {
  const bits = requireBits(activationBits);
  const simd = isSimd(isa);
  return rendered('pack_planes', `pack_a${bits}__${isa}`, {
    simd,
    bits,
    type: simd ? 'v128' : 'i64',
    zero: simd ? '(v128.const i32x4 0 0 0 0)' : '(i64.const 0)',
    planes: range(bits).map((index) => ({ index, left: 7 - index })),
    srcStep: simd ? 16 : 8,
    dstStep: simd ? 2 : 1,
  });
}

export function weightSums(weightBits: number): WasmFunction {
  const bits = requireBits(weightBits);
  return rendered('weight_sums', `weight_sums_w${bits}`, { bits, planes: range(bits), beta: weightBeta(bits), alphaShift: weightAlpha(bits) - 1 });
}

/** What every tile function takes: operands of its first channel and pixel, strides, trip count, where sums go, corrections. */
const TILE_PARAMS = ['w', 'rowBytes', 'left', 'x', 'xs', 'k', 'acc', 'accs', 'sums', 'consts'].map((p) => `(param $${p} i32)`).join(' ');

/** Tiles of the convolution driver: how many pixels and channels one call computes. */
export interface Tile extends WasmFunction {
  readonly count: number;
}

const tileOf = (count: number, f: WasmFunction): Tile => ({ ...f, count });

/** `pixels` × 8 channels over weight panels: pairs of i16 (two pairs a step) or f32 (one tap a step, the order is fixed). */
export function panelTile(kind: 'int8' | 'f32', pixels: number): Tile {
  const float = kind === 'f32';
  const unroll = float ? 1 : 2;
  return tileOf(
    pixels,
    rendered('tile_panels', `tile_${kind}_${pixels}__simd128`, {
      tileParams: TILE_PARAMS,
      pixelCount: pixels,
      pixels: range(pixels),
      accumulators: range(pixels).flatMap((p) => [`a${p}0`, `a${p}1`]),
      unroll: range(unroll).map((i) => ({ wOffset: 16 * i, xOffset: 4 * i })),
      wStep: 16 * unroll,
      xStep: 4 * unroll,
      add: float ? 'f32x4.add' : 'i32x4.add',
      multiply: float ? 'f32x4.mul' : 'i32x4.dot_i16x8_s',
    }),
  );
}
/** Reduction elements that one step of {@link panelTile} takes. */
export const PANEL_STEP = { int8: 4, f32: 1 } as const;

export function scalarTile(kind: 'int8' | 'f32'): Tile {
  const float = kind === 'f32';
  return tileOf(
    1,
    rendered('tile_scalar', `tile_${kind}__scalar`, {
      tileParams: TILE_PARAMS,
      float,
      type: float ? 'f32' : 'i32',
      rows: range(4),
      offsets: range(4).map((row) => ({ row, first: 4 * row, second: 4 * row + 2 })),
      stores: range(4).map((row) => ({ row, offset: 4 * row })),
    }),
  );
}

/** i8x16.shuffle lanes that pick 32-bit lanes of two vectors. */
const pick32 = (lanes: readonly number[]): string => lanes.flatMap((l) => range(4).map((b) => 4 * l + b)).join(' ');

export function bitserialTile(isa: Isa, weightBits: number, activationBits: number, pixels: number): Tile {
  const [w, a] = [requireBits(weightBits), requireBits(activationBits)];
  const simd = isSimd(isa);
  if (!simd && pixels !== 1) fail('E901', 'kernel template: the scalar bit-serial tile is one pixel wide', { found: String(pixels) });
  const rows = range(4);
  const cell = (row: number, pixel: number): object => ({ name: `${row}${pixel}`, row, pixel, offset: 4 * row });
  return tileOf(
    pixels,
    rendered('tile_bitserial', `tile_w${w}a${a}_${pixels}__${isa}`, {
      tileParams: TILE_PARAMS,
      simd,
      pixelCount: pixels,
      weightBits: w,
      activationBits: a,
      rows,
      pixels: range(pixels),
      cells: rows.flatMap((r) => range(pixels).map((p) => cell(r, p))),
      rowCells: rows.map((row) => ({ row, cells: range(pixels).map((p) => cell(row, p)) })),
      word: simd ? 'v128' : 'i64',
      count: simd ? 'v128' : 'i64',
      total: simd ? 'v128' : 'i32',
      alphaShift: weightAlpha(w) - 1,
      beta: weightBeta(w),
      low: pick32([0, 4, 1, 5]),
      high: pick32([2, 6, 3, 7]),
      lowHalves: pick32([0, 1, 4, 5]),
      highHalves: pick32([2, 3, 6, 7]),
    }),
  );
}

/** From accumulators to the output: i32 → u8 codes, i32 → f32, or f32 sums → f32. */
export type EpilogueKind = 'codes' | 'f32' | 'bias';

export function epilogue(isa: Isa, kind: EpilogueKind): WasmFunction {
  return rendered('epilogue', `epilogue_${kind}__${isa}`, { simd: isSimd(isa), integer: kind !== 'bias', codes: kind === 'codes' });
}

export function depthwisePixel(isa: Isa, kind: 'int8' | 'f32'): WasmFunction {
  const simd = isSimd(isa);
  const integer = kind === 'int8';
  const lanes = depthwiseLanes(isa, kind);
  return rendered('depthwise_pixel', `depthwise_pixel_${kind}__${isa}`, {
    simd,
    integer,
    lanes,
    type: simd ? 'v128' : integer ? 'i32' : 'f32',
    zero: simd ? '(v128.const i32x4 0 0 0 0)' : integer ? '(i32.const 0)' : '(f32.const 0)',
    xStep: lanes * (integer ? 1 : 4),
    accStep: lanes * 4,
  });
}
/** Channels that one step of {@link depthwisePixel} takes. */
export const depthwiseLanes = (isa: Isa, kind: 'int8' | 'f32'): number => (!isSimd(isa) ? 1 : kind === 'int8' ? 8 : 4);

// ---- drivers

/** Parameters of every convolution function, in order; all but `lo` and `hi` are i32. The first ten are addresses. */
export const CONV_PARAMS = [
  'x', 'w', 'scale', 'offset', 'y', 'codes', 'patch', 'panels', 'acc', 'sums',
  'inH', 'inW', 'outH', 'outW', 'kH', 'kW', 'strideH', 'strideW', 'padT', 'padL', 'dilH', 'dilW',
  'groups', 'og', 'pixels', 'tapBytes', 'pixelBytes', 'outPixelBytes',
  'k', 'kp', 'codeStride', 'patchStride', 'wRow', 'tileRow', 'accStride', 'steps',
  'cb', 'pb', 'xZero', 'lo', 'hi',
] as const;
export type ConvParam = (typeof CONV_PARAMS)[number];
export const isFloatParam = (p: ConvParam): boolean => p === 'lo' || p === 'hi';

const convParams = CONV_PARAMS.map((p) => `(param $${p} ${isFloatParam(p) ? 'f32' : 'i32'})`).join(' ');

export interface ConvPieces {
  /** Run once per block of channels: unpacks weights, or sums them. */
  readonly prepare: WasmFunction | null;
  readonly gather: WasmFunction;
  /** From gathered codes to what tiles read. */
  readonly convert: WasmFunction | null;
  /** Widest first, down to one pixel. */
  readonly tiles: readonly Tile[];
  readonly tileChannels: 4 | 8;
  /** Tiles read prepared panels, else rows of the weights. */
  readonly panelTiles: boolean;
  /** Elements past the end of a patch: the zero point, so that they contribute nothing, or zero. */
  readonly tailIsZeroPoint: boolean;
  readonly epilogue: WasmFunction;
  readonly outShift: 0 | 2;
}

/** The convolution driver and everything it calls, driver first. */
export function convFunctions(name: string, c: ConvPieces): WasmFunction[] {
  if (c.tiles.at(-1)?.count !== 1) fail('E901', 'kernel template: the last tile must be one pixel wide');
  const view = {
    ...c,
    convParams,
    prepare: c.prepare?.name ?? '',
    gather: c.gather.name,
    convert: c.convert?.name ?? '',
    patches: c.convert ? 'patch' : 'codes',
    tiles: c.tiles.map((t) => ({ count: t.count, symbol: t.name })),
    epilogue: c.epilogue.name,
  };
  return [rendered('conv', name, view), ...[c.prepare, c.gather, c.convert, ...c.tiles, c.epilogue].filter((f) => f !== null)];
}

export interface DepthwisePieces {
  readonly prepare: WasmFunction | null;
  readonly pixel: WasmFunction;
  readonly lanes: number;
  readonly epilogue: WasmFunction;
}

/** The depthwise driver and everything it calls, driver first. */
export function depthwiseFunctions(name: string, c: DepthwisePieces): WasmFunction[] {
  const view = {
    convParams,
    lanes: c.lanes,
    prepare: c.prepare?.name ?? '',
    pixel: c.pixel.name,
    epilogue: c.epilogue.name,
    axes: [
      { first: 'h0', last: 'h1', at: 'ih', dilation: 'dilH', extent: 'inH', taps: 'kH' },
      { first: 'w0', last: 'w1', at: 'iw', dilation: 'dilW', extent: 'inW', taps: 'kW' },
    ],
  };
  return [rendered('depthwise', name, view), ...[c.prepare, c.pixel, c.epilogue].filter((f) => f !== null)];
}
