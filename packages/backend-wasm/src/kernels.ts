/**
 * The functions that hot kernels are made of: one template each, a view that does all arithmetic before the template renders,
 * and checks of its parameters. Functions are named by what specialises them, so that calls share them.
 */
import { type Bits, weightAlpha, weightBeta } from '@bitloom/numerics';
import type { Isa, WasmFunction } from './family.js';
import { range, rendered } from './render.js';

const isSimd = (isa: Isa): boolean => isa === 'simd128';

// ---- pieces

export function unpack(isa: Isa, weightBits: Bits, layout: 'panels' | 'taps'): WasmFunction {
  const bits = weightBits;
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

/** From accumulators to the output: i32 → u8 codes, i32 → f32, or f32 sums → f32. */
export type EpilogueKind = 'codes' | 'f32' | 'bias';

export function epilogue(isa: Isa, kind: EpilogueKind): WasmFunction {
  return rendered('epilogue_row', `epilogue_row_${kind}__${isa}`, { simd: isSimd(isa), integer: kind !== 'bias', codes: kind === 'codes' });
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

/** Words of a descriptor, in order; all but `lo` and `hi` are i32. The first ten are addresses. */
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
  const loads = CONV_PARAMS.map((p, i) => `(${isFloatParam(p) ? 'f32' : 'i32'}.load offset=${4 * i} (local.get $d))`).join(' ');
  const entry: WasmFunction = { name: `${name}_entry`, text: () => `(func $${name}_entry (param $d i32) (call $${name} ${loads}))` };
  return [entry, rendered('depthwise', name, view), ...[c.prepare, c.pixel, c.epilogue].filter((f) => f !== null)];
}
