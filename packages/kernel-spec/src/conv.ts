/**
 * The convolution family: 2-D convolution, 1-D (height 1), depthwise (groups = channels) and fully connected layers
 * (1×1 over `inH = 1, inW = rows`), on integers or f32. Activations are channels-last.
 */
import type { Bits } from '@bitloom/numerics';
import { clampTo, requantize, weightAlpha, weightBeta } from '@bitloom/numerics';
import type { TypedArray } from '@bitloom/tensor';

/** Sizes of a convolution; `inC` and `outC` count all groups. Weights are [outC][kH][kW][inC/groups]. */
export interface ConvGeometry {
  readonly batch: number;
  readonly inH: number;
  readonly inW: number;
  readonly inC: number;
  readonly outH: number;
  readonly outW: number;
  readonly outC: number;
  readonly kH: number;
  readonly kW: number;
  readonly strideH: number;
  readonly strideW: number;
  readonly padT: number;
  readonly padL: number;
  readonly dilH: number;
  readonly dilW: number;
  readonly groups: number;
}

/**
 * Integer form: args [x: u8 codes, w: i8 values, multiplier: f32[outC], offset: f32[outC]], result u8 codes or f32.
 *
 *   acc[o] = Σ_taps w[o,…]·(x[…] − xZero)   (taps outside the input contribute nothing; i32, exact)
 *   codes: y = rne(clamp(f32(f32(acc)·multiplier[o]) + offset[o], lo, hi))      f32: the same without rne
 *
 * Float form: args [x: f32, w: f32, bias: f32[outC]], result f32.
 *
 *   y = clamp(f32(acc + bias[o]), lo, hi), acc summed in f32 from 0 in the order kH, kW, inC, every product and sum rounded.
 *
 * `clamp` is {@link clampTo}; lo/hi carry a fused Relu or Clip (±Infinity where there is none, integers for codes).
 */
export interface ConvParams extends ConvGeometry {
  readonly kind: 'int' | 'f32';
  /** Bit-widths of the integer form; null in the float form. */
  readonly weightBits: Bits | null;
  readonly activationBits: Bits | null;
  readonly xZero: number;
  readonly output: 'codes' | 'f32';
  readonly lo: number;
  readonly hi: number;
  /** {@link isBounded}, where that is known. Planning finds it; it is no part of programs in files. */
  readonly bounded?: boolean;
}

/** Reduction length of one output: kH·kW·inC/groups. */
export const convK = (g: ConvGeometry): number => (g.kH * g.kW * g.inC) / g.groups;
export const convMacs = (g: ConvGeometry): number => g.batch * g.outH * g.outW * g.outC * convK(g);

/** At most four codes come out, as of two bits. Kernels may count thresholds then, in place of multiplying. */
export const hasFewCodes = (p: ConvParams): boolean => p.output === 'codes' && p.hi - p.lo < 4;

/** What sums of products are, before they are requantised. */
export interface Sums {
  /** They are of weight codes, and lack −beta·Σ x. */
  readonly unsigned: boolean;
  /** They are over x − offset. */
  readonly offset: number;
}

/** Sums of weight values times codes. */
export const PLAIN_SUMS: Sums = { unsigned: false, offset: 0 };

/** Largest magnitude of a sum of the integer form, times alpha where it is of weight codes. */
export function largestSum(p: ConvParams, s: Sums): number {
  const [w, top] = [p.weightBits!, 2 ** p.activationBits! - 1];
  return convK(p) * (s.unsigned ? weightAlpha(w) * (2 ** w - 1) * top : weightBeta(w) * Math.max(s.offset, top - s.offset));
}

/** Whether all results of the integer form lie within ±2²² before they are clamped, whatever the codes; `multiplier` and `offset` are f32[outC]. */
export function isBounded(p: ConvParams, multiplier: ArrayLike<number>, offset: ArrayLike<number>): boolean {
  const sum = largestSum(p, { unsigned: false, offset: p.xZero });
  for (let o = 0; o < p.outC; o++) if (!(sum * Math.abs(multiplier[o]) + Math.abs(offset[o]) <= 2 ** 22)) return false;
  return true;
}

/** Whether sums fit 16 bits, with one to spare. */
export const sumsFit = (p: ConvParams, sums: Sums): boolean => largestSum(p, sums) < 2 ** 15 - 1;

/** How many thresholds requantise sums of 16 bits, 0 where they are multiplied. */
export const thresholdsOf = (p: ConvParams, sums: Sums): number => (p.kind === 'int' && hasFewCodes(p) && sumsFit(p, sums) ? p.hi - p.lo : 0);

/** 1×1 without strides and padding: every output pixel reads the input pixel of the same number. */
export const isPointwise = (g: ConvGeometry): boolean =>
  g.kH === 1 && g.kW === 1 && g.strideH === 1 && g.strideW === 1 && g.padT === 0 && g.padL === 0 && g.outH === g.inH && g.outW === g.inW;

/** Rows of weights and windows that are multiplied at once, to share loads. */
const ROWS = 4;
const WINDOWS = 2;

/** The input under {@link WINDOWS} windows of one group. */
interface Windows {
  /** By window, in the order of a row of weights: x − xZero (or x), 0 for taps outside the input. One array costs fewer registers than two. */
  readonly values: Float64Array | Float32Array;
  /** By window and tap: 1 inside the input. */
  readonly inside: Uint8Array;
}

function gather(p: ConvParams, x: Uint8Array | Float32Array, n: number, position: number, group: number, { values, inside }: Windows, window: number): void {
  const { xZero } = p;
  const perGroup = p.inC / p.groups;
  const top = Math.floor(position / p.outW) * p.strideH - p.padT;
  const left = (position % p.outW) * p.strideW - p.padL;
  let tap = window * p.kH * p.kW;
  let at = tap * perGroup;
  for (let kh = 0; kh < p.kH; kh++) {
    const ih = top + kh * p.dilH;
    for (let kw = 0; kw < p.kW; kw++, tap++) {
      const iw = left + kw * p.dilW;
      const end = at + perGroup;
      if (ih < 0 || ih >= p.inH || iw < 0 || iw >= p.inW) {
        inside[tap] = 0;
        while (at < end) values[at++] = 0;
      } else {
        inside[tap] = 1;
        for (let i = ((n * p.inH + ih) * p.inW + iw) * p.inC + group * perGroup; at < end; i++) values[at++] = x[i] - xZero;
      }
    }
  }
}

/** Sums of `rows` rows of `k` weights from element `at` on, for each window: `sums` is [row][window]. */
type Dot = (windows: Windows, w: TypedArray, at: number, rows: number, k: number, sums: Float64Array) => void;

/** In doubles, exact up to 2^53, and then i32. */
function dotInt({ values }: Windows, w: Float64Array, at: number, rows: number, k: number, sums: Float64Array): void {
  for (let r = 0; r < rows; r += ROWS, at += ROWS * k) {
    const at1 = at + k;
    const at2 = at1 + k;
    const at3 = at2 + k;
    let a0 = 0;
    let a1 = 0;
    let a2 = 0;
    let a3 = 0;
    let b0 = 0;
    let b1 = 0;
    let b2 = 0;
    let b3 = 0;
    for (let j = 0; j < k; j++) {
      const u = values[j];
      const v = values[k + j];
      const w0 = w[at + j];
      a0 += w0 * u;
      b0 += w0 * v;
      const w1 = w[at1 + j];
      a1 += w1 * u;
      b1 += w1 * v;
      const w2 = w[at2 + j];
      a2 += w2 * u;
      b2 += w2 * v;
      const w3 = w[at3 + j];
      a3 += w3 * u;
      b3 += w3 * v;
    }
    const to = r * WINDOWS;
    sums[to] = a0 | 0;
    sums[to + 1] = b0 | 0;
    sums[to + 2] = a1 | 0;
    sums[to + 3] = b1 | 0;
    sums[to + 4] = a2 | 0;
    sums[to + 5] = b2 | 0;
    sums[to + 6] = a3 | 0;
    sums[to + 7] = b3 | 0;
  }
}

/** Leaves out taps outside the input: 0·∞ is no 0. */
function dotF32({ values, inside }: Windows, w: Float32Array, at: number, rows: number, k: number, sums: Float64Array): void {
  const { fround } = Math;
  const taps = inside.length / WINDOWS;
  const perTap = k / taps;
  for (let r = 0; r < rows; r += ROWS, at += ROWS * k) {
    for (let n = 0; n < WINDOWS; n++) {
      let a = 0;
      let b = 0;
      let c = 0;
      let d = 0;
      for (let t = 0; t < taps; t++) {
        if (!inside[n * taps + t]) continue;
        const end = (t + 1) * perTap;
        for (let j = t * perTap; j < end; j++) {
          const v = values[n * k + j];
          const i = at + j;
          a = fround(a + fround(w[i] * v));
          b = fround(b + fround(w[i + k] * v));
          c = fround(c + fround(w[i + 2 * k] * v));
          d = fround(d + fround(w[i + 3 * k] * v));
        }
      }
      const to = r * WINDOWS + n;
      sums[to] = a;
      sums[to + WINDOWS] = b;
      sums[to + 2 * WINDOWS] = c;
      sums[to + 3 * WINDOWS] = d;
    }
  }
}

/** The exact reference of the family; `y` is filled. */
export function convReference(p: ConvParams, args: readonly TypedArray[], y: TypedArray): void {
  const x = args[0] as Uint8Array | Float32Array;
  const scale = args[2] as Float32Array;
  const offset = args[3] as Float32Array;
  const int = p.kind === 'int';
  const k = convK(p);
  // Rows are multiplied four at once: the last ones of a group with what follows, whose sums are not used.
  const w = new (int ? Float64Array : Float32Array)(args[1].length + (ROWS - 1) * k);
  w.set(args[1] as Int8Array | Float32Array);
  const perGroup = p.outC / p.groups;
  const positions = p.outH * p.outW;
  const windows: Windows = {
    values: new (int ? Float64Array : Float32Array)(WINDOWS * k),
    inside: new Uint8Array(WINDOWS * p.kH * p.kW),
  };
  const dot = (int ? dotInt : dotF32) as Dot;
  const sums = new Float64Array(WINDOWS * (perGroup + ROWS - 1));
  const finish = (acc: number, o: number): number => {
    if (!int) return clampTo(Math.fround(acc + scale[o]), p.lo, p.hi);
    if (p.output === 'codes') return requantize(acc, scale[o], offset[o], p.lo, p.hi);
    return clampTo(Math.fround(Math.fround(Math.fround(acc) * scale[o]) + offset[o]), p.lo, p.hi);
  };
  for (let n = 0; n < p.batch; n++)
    for (let position = 0; position < positions; position += WINDOWS)
      for (let group = 0; group < p.groups; group++) {
        const count = Math.min(WINDOWS, positions - position);
        for (let i = 0; i < count; i++) gather(p, x, n, position + i, group, windows, i);
        const first = group * perGroup;
        dot(windows, w, first * k, perGroup, k, sums);
        for (let i = 0; i < count; i++) {
          const at = (n * positions + position + i) * p.outC + first;
          for (let r = 0; r < perGroup; r++) y[at + r] = finish(sums[r * WINDOWS + i], first + r);
        }
      }
}
