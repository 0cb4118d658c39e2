/**
 * Requantisation of sums, up to 8 channels at a time. Where a result has few codes and sums fit 16 bits, the codes
 * are counts of thresholds that a sum is above: eight sums a vector and no floats. Thresholds are found once, by bisection of the formula itself,
 * which never falls as sums grow, so results are the same (multi-thresholds: FINN, arXiv 1612.07119, §4.2.2).
 */
import { type ConvParams, type Sums, thresholdsOf } from '@bitloom/kernel-spec';
import { type Bits, weightAlpha } from '@bitloom/numerics';
import { d } from './descriptor.js';
import type { WasmFunction } from './family.js';
import { range, rendered } from './render.js';

/** Channels that one call of the epilogue takes. */
export const EPILOGUE_CHANNELS = 8;

export interface Epilogue {
  /** Names the constants of channels that it reads. */
  readonly symbol: string;
  /** The function, and what it calls. */
  readonly functions: readonly [WasmFunction, ...WasmFunction[]];
  /** Bytes of the constants of a channel, in blocks of {@link EPILOGUE_CHANNELS}. */
  readonly constBytes: number;
  /** Of codes; 0 where sums are multiplied. */
  readonly thresholds: number;
}

/** Codes of eight i16 sums by thresholds, all of them locals: the least code, in $lo, minus comparisons, which give −1. */
export const codesAbove = (sum: string, thresholds: readonly string[]): string =>
  thresholds.reduce((codes, t) => `(i16x8.sub ${codes} (i16x8.gt_s (local.get $${sum}) (local.get $${t})))`, '(local.get $lo)');

/** Whether saturating stores of codes clamp from below: rounded results are not so far below that 32 bits wrap. */
export const isClamped = (p: ConvParams): boolean => p.output === 'codes' && p.lo === 0 && p.bounded === true;

/** Stores less than a vector of codes. */
export const storeCodes = rendered('store_codes', 'store_codes', {});

/** Addresses of a pixel's sums, the first and the second. */
const SUMS_AT = ['(local.get $acc)', '(i32.add (local.get $acc) (local.get $accs))'];

function functionOf(simd: boolean, p: ConvParams, unsigned: boolean, thresholds: number): WasmFunction {
  const kind = p.kind === 'f32' ? 'bias' : p.output;
  const alphaShift = unsigned ? weightAlpha(p.weightBits!) - 1 : 0;
  const bounded = !thresholds && isClamped(p);
  const name = `epilogue_${thresholds ? `thresholds${thresholds}` : kind}${bounded ? '_bounded' : ''}${unsigned ? `_sums${alphaShift}` : ''}`;
  const halves = range(2).map((index) => ({ index, offset: 16 * index }));
  const view = { d, integer: kind !== 'bias', sums: unsigned, alphaShift, halves, channels: EPILOGUE_CHANNELS };
  const codes = kind === 'codes';
  if (!simd) return rendered('epilogue_scalar', `${name}__scalar`, { ...view, codes, size: codes ? 1 : 4 });
  return codes
    ? rendered('epilogue_codes', name, {
      ...view, bounded, halves: thresholds ? [] : halves, thresholds: range(thresholds).map((index) => ({ index, offset: 16 * index })),
      above: codesAbove('v0', range(thresholds).map((index) => `t${index}`)), storeCodes: storeCodes.name,
      parts: [2, 1].map((pixels) => ({ two: pixels === 2, sumBytes: 4 * pixels, pixels: range(pixels).map((index) => ({ index, at: SUMS_AT[index], sumOffset: 4 * index })) })),
    })
    : rendered('epilogue', name, view);
}

/** How a convolution requantises. */
export function epilogueOf(simd: boolean, p: ConvParams, sums: Sums): Epilogue {
  const thresholds = simd ? thresholdsOf(p, sums) : 0;
  return {
    symbol: thresholds ? `thresholds${thresholds}` : p.kind === 'f32' ? 'bias' : `${p.output}${simd && isClamped(p) ? '_bounded' : ''}`,
    functions: [functionOf(simd, p, sums.unsigned, thresholds), ...(simd && p.output === 'codes' ? [storeCodes] : [])],
    constBytes: thresholds ? 2 * thresholds : 4, thresholds,
  };
}

/** What tile templates say to count thresholds. */
export interface Counting {
  /** Locals, and what sets them: thresholds, and the least code. */
  readonly locals: string;
  readonly loads: string;
  /** Requantises and stores the sums. */
  readonly text: string;
}

/**
 * Requantisation of i16 sums in registers, by a tile with {@link COUNTING_PARAMS}.
 * @param sums names of locals, eight channels each: [pixel][8 channels]; they are written to, as is $t
 */
export function countingOf(thresholds: number, sums: readonly (readonly string[])[], unsigned: boolean, weightBits: number): Counting {
  const name = (vector: number, j: number): string => `h${vector}_${j}`;
  const all = sums[0].flatMap((_, vector) => range(thresholds).map((j) => ({ name: name(vector, j), offset: 16 * (vector * thresholds + j) })));
  return {
    locals: `${all.map((t) => `(local $${t.name} v128) `).join('')}(local $lo v128) (local $code0 v128) (local $code1 v128)`,
    loads: [
      `(local.set $lo (i16x8.splat (i32.trunc_f32_s (f32.load ${d.at.lo}))))`,
      ...all.map((t) => `(local.set $${t.name} (v128.load offset=${t.offset} (local.get $k)))`),
    ].join('\n  '),
    text: rendered('count_codes', '', {
      sums: unsigned, alphaShift: unsigned ? weightAlpha(weightBits as Bits) - 1 : 0, storeCodes: storeCodes.name, sumBytes: 4 * sums.length,
      pixels: sums.map((vectors, pixel) => ({
        sumOffset: 4 * pixel,
        codes: range(Math.ceil(vectors.length / 2)).map((i) => {
          const pair = vectors.slice(2 * i, 2 * i + 2);
          return {
            first: 16 * i, end: 16 * i + 8 * pair.length, whole: pair.length === 2,
            vectors: pair.map((sum, half) => ({ sum, half, above: codesAbove(sum, range(thresholds).map((j) => name(2 * i + half, j))) })),
          };
        }),
      })),
    }).text(),
  };
}

/** Puts what the epilogue reads of a channel into the prepared region. */
const placeConstant = (e: Epilogue): WasmFunction => rendered('place_constant', `place_constant${e.thresholds ? `_${e.symbol}` : ''}`, {
  d, thresholds: e.thresholds ? thresholdsFunction(e.thresholds).name : '', channels: EPILOGUE_CHANNELS, blockBytes: EPILOGUE_CHANNELS * e.constBytes,
});

/** What puts it there, and what that calls. */
export const constantFunctions = (e: Epilogue): readonly [WasmFunction, ...WasmFunction[]] => [placeConstant(e), ...(e.thresholds ? [thresholdsFunction(e.thresholds)] : [])];

/** Finds the thresholds of a channel. */
export const thresholdsFunction = (thresholds: number): WasmFunction => rendered('thresholds', `thresholds${thresholds}`, { thresholds, lanes: 2 * EPILOGUE_CHANNELS });
