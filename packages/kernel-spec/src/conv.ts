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

/** The exact reference of the family; `y` is filled. */
export function convReference(p: ConvParams, args: readonly TypedArray[], y: TypedArray): void {
  const x = args[0] as Uint8Array | Float32Array;
  const w = args[1] as Int8Array | Float32Array;
  const scale = args[2] as Float32Array;
  const offset = args[3] as Float32Array;
  const out = y as Float32Array;
  const cg = p.inC / p.groups;
  const og = p.outC / p.groups;
  const int = p.kind === 'int';
  let at = 0;
  for (let n = 0; n < p.batch; n++)
    for (let oh = 0; oh < p.outH; oh++)
      for (let ow = 0; ow < p.outW; ow++)
        for (let o = 0; o < p.outC; o++, at++) {
          const c0 = Math.floor(o / og) * cg;
          let acc = 0;
          for (let kh = 0; kh < p.kH; kh++) {
            const ih = oh * p.strideH - p.padT + kh * p.dilH;
            if (ih < 0 || ih >= p.inH) continue;
            for (let kw = 0; kw < p.kW; kw++) {
              const iw = ow * p.strideW - p.padL + kw * p.dilW;
              if (iw < 0 || iw >= p.inW) continue;
              const xi = ((n * p.inH + ih) * p.inW + iw) * p.inC + c0;
              const wi = ((o * p.kH + kh) * p.kW + kw) * cg;
              if (int) for (let c = 0; c < cg; c++) acc = (acc + w[wi + c] * (x[xi + c] - p.xZero)) | 0;
              else for (let c = 0; c < cg; c++) acc = Math.fround(acc + Math.fround(w[wi + c] * x[xi + c]));
            }
          }
          if (!int) out[at] = clampTo(Math.fround(acc + scale[o]), p.lo, p.hi);
          else if (p.output === 'codes') out[at] = requantize(acc, scale[o], offset[o], p.lo, p.hi);
          else out[at] = clampTo(Math.fround(Math.fround(Math.fround(acc) * scale[o]) + offset[o]), p.lo, p.hi);
        }
}
