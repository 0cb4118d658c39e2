/**
 * The convolution family: 2-D convolution, 1-D (height 1), depthwise (groups = channels) and fully connected layers
 * (1×1 over `inH = 1, inW = rows`), on integers or f32. Activations are channels-last.
 */
import type { Bits } from '@bitloom/numerics';
import { clampTo, requantize } from '@bitloom/numerics';
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
}

/** Reduction length of one output: kH·kW·inC/groups. */
export const convK = (g: ConvGeometry): number => (g.kH * g.kW * g.inC) / g.groups;
export const convMacs = (g: ConvGeometry): number => g.batch * g.outH * g.outW * g.outC * convK(g);

/** 1×1 without strides and padding: every output pixel reads the input pixel of the same number. */
export const isPointwise = (g: ConvGeometry): boolean =>
  g.kH === 1 && g.kW === 1 && g.strideH === 1 && g.strideW === 1 && g.padT === 0 && g.padL === 0 && g.outH === g.inH && g.outW === g.inW;

/** The input values under one window of one group, without the taps outside the input. */
interface Window {
  /** x − xZero (or x), and the index of the same tap within a row of weights. */
  readonly values: Int32Array | Float32Array;
  readonly taps: Int32Array;
  count: number;
}

function gather(p: ConvParams, x: Uint8Array | Float32Array, n: number, oh: number, ow: number, group: number, window: Window): void {
  const cg = p.inC / p.groups;
  const { values, taps } = window;
  let count = 0;
  for (let kh = 0; kh < p.kH; kh++) {
    const ih = oh * p.strideH - p.padT + kh * p.dilH;
    if (ih < 0 || ih >= p.inH) continue;
    for (let kw = 0; kw < p.kW; kw++) {
      const iw = ow * p.strideW - p.padL + kw * p.dilW;
      if (iw < 0 || iw >= p.inW) continue;
      const xi = ((n * p.inH + ih) * p.inW + iw) * p.inC + group * cg;
      const tap = (kh * p.kW + kw) * cg;
      for (let c = 0; c < cg; c++, count++) {
        values[count] = x[xi + c] - p.xZero;
        taps[count] = tap + c;
      }
    }
  }
  window.count = count;
}

/** Sums of `rows` ≤ 4 consecutive rows of weights from element `at` on; four at once share the loads of a window. */
type Dot = (window: Window, w: TypedArray, at: number, rowLength: number, rows: number, sums: Float64Array) => void;

function dotInt({ values, taps, count }: Window, w: Int8Array, at: number, rowLength: number, rows: number, sums: Float64Array): void {
  if (rows < 4) {
    for (let r = 0; r < rows; r++, at += rowLength) {
      let a = 0;
      for (let j = 0; j < count; j++) a = (a + Math.imul(w[at + taps[j]], values[j])) | 0;
      sums[r] = a;
    }
    return;
  }
  let a = 0;
  let b = 0;
  let c = 0;
  let d = 0;
  for (let j = 0; j < count; j++) {
    const v = values[j];
    const i = at + taps[j];
    a = (a + Math.imul(w[i], v)) | 0;
    b = (b + Math.imul(w[i + rowLength], v)) | 0;
    c = (c + Math.imul(w[i + 2 * rowLength], v)) | 0;
    d = (d + Math.imul(w[i + 3 * rowLength], v)) | 0;
  }
  sums[0] = a;
  sums[1] = b;
  sums[2] = c;
  sums[3] = d;
}

function dotF32({ values, taps, count }: Window, w: Float32Array, at: number, rowLength: number, rows: number, sums: Float64Array): void {
  const { fround } = Math;
  if (rows < 4) {
    for (let r = 0; r < rows; r++, at += rowLength) {
      let a = 0;
      for (let j = 0; j < count; j++) a = fround(a + fround(w[at + taps[j]] * values[j]));
      sums[r] = a;
    }
    return;
  }
  let a = 0;
  let b = 0;
  let c = 0;
  let d = 0;
  for (let j = 0; j < count; j++) {
    const v = values[j];
    const i = at + taps[j];
    a = fround(a + fround(w[i] * v));
    b = fround(b + fround(w[i + rowLength] * v));
    c = fround(c + fround(w[i + 2 * rowLength] * v));
    d = fround(d + fround(w[i + 3 * rowLength] * v));
  }
  sums[0] = a;
  sums[1] = b;
  sums[2] = c;
  sums[3] = d;
}

/** The exact reference of the family; `y` is filled. */
export function convReference(p: ConvParams, args: readonly TypedArray[], y: TypedArray): void {
  const x = args[0] as Uint8Array | Float32Array;
  const w = args[1];
  const scale = args[2] as Float32Array;
  const offset = args[3] as Float32Array;
  const int = p.kind === 'int';
  const k = convK(p);
  const og = p.outC / p.groups;
  const window: Window = { values: int ? new Int32Array(k) : new Float32Array(k), taps: new Int32Array(k), count: 0 };
  const dot = (int ? dotInt : dotF32) as Dot;
  const sums = new Float64Array(4);
  const finish = (acc: number, o: number): number => {
    if (!int) return clampTo(Math.fround(acc + scale[o]), p.lo, p.hi);
    if (p.output === 'codes') return requantize(acc, scale[o], offset[o], p.lo, p.hi);
    return clampTo(Math.fround(Math.fround(Math.fround(acc) * scale[o]) + offset[o]), p.lo, p.hi);
  };
  let at = 0;
  for (let n = 0; n < p.batch; n++)
    for (let oh = 0; oh < p.outH; oh++)
      for (let ow = 0; ow < p.outW; ow++)
        for (let group = 0; group < p.groups; group++) {
          gather(p, x, n, oh, ow, group, window);
          const end = (group + 1) * og;
          for (let o = group * og; o < end; o += 4) {
            const rows = Math.min(4, end - o);
            dot(window, w, o * k, k, rows, sums);
            for (let r = 0; r < rows; r++) y[at++] = finish(sums[r], o + r);
          }
        }
}
