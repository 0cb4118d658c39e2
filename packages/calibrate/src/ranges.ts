/** From what was seen to scale and zero point. */
import { type QuantParams, type QuantScheme, clampTo, codeRange, rne } from '@bitloom/numerics';
import type { Tensor } from '@bitloom/tensor';
import { type Histogram, BINS, binCenter } from './histogram.js';

export type RangeMethod = 'minmax' | 'percentile' | 'mse' | 'entropy';
export const RANGE_METHODS: readonly RangeMethod[] = ['minmax', 'percentile', 'mse', 'entropy'];

/** Smallest scale: below it a tensor is constant for all that f32 codes can tell. */
const MIN_SCALE = 2 ** -100;
const MAX_SCALE = 2 ** 127;
/** A finite, positive f32 scale. */
const scaleOf = (s: number): number => Math.fround(Math.min(Math.max(s, MIN_SCALE), MAX_SCALE));

/**
 * Parameters of unsigned codes for the real range [lo, hi], which is widened to hold 0 so that zero padding and Relu are exact.
 * Symmetric: the zero point is the middle code and the range is ±max(|lo|, |hi|); one bit has no middle and ignores it.
 */
export function paramsForRange(lo: number, hi: number, scheme: QuantScheme, symmetric = false): QuantParams {
  const { hi: top } = codeRange(scheme);
  const [a, b] = [Math.min(0, lo), Math.max(0, hi)];
  if (symmetric && scheme.bits > 1) {
    const middle = 2 ** (scheme.bits - 1);
    return { scheme, scale: Float32Array.of(scaleOf(Math.max(-a, b) / (top - middle))), zeroPoint: Int32Array.of(middle) };
  }
  const scale = scaleOf((b - a) / top);
  const zero = Math.min(top, Math.max(0, rne(-a / scale)));
  return { scheme, scale: Float32Array.of(scale), zeroPoint: Int32Array.of(zero) };
}

/** Σ counts·(Q(x) − x)² over bin centres. */
function quantizationError(h: Histogram, p: QuantParams): number {
  const s = p.scale[0];
  const lo = -p.zeroPoint[0];
  const hi = lo + codeRange(p.scheme).hi;
  let sum = 0;
  for (let i = 0; i < BINS; i++) {
    if (h.counts[i] === 0) continue;
    const x = binCenter(h, i);
    // quantizeValue without the zero point: hundreds of ranges are tried.
    const d = s * rne(clampTo(Math.fround(x / s), lo, hi)) - x;
    sum += h.counts[i] * d * d;
  }
  return sum;
}

/** Clips tried by mse and entropy: the whole range shrunk towards zero in steps of 1/STEPS. */
const STEPS = 80;

/**
 * Kullback–Leibler divergence between the clipped histogram (outliers moved to the edge bins) and itself merged into the
 * code levels and spread back over the non-empty bins (TensorRT's calibration: Migacz, GTC 2017).
 */
function divergence(h: Histogram, p: QuantParams): number {
  const s = p.scale[0];
  const z = p.zeroPoint[0];
  const levels = 2 ** p.scheme.bits;
  const [lo, hi] = [-z * s, (levels - 1 - z) * s];
  const clipped = new Float64Array(BINS);
  const level = new Int32Array(BINS).fill(-1);
  let below = 0;
  let above = 0;
  let [first, last] = [-1, -1];
  for (let i = 0; i < BINS; i++) {
    const x = binCenter(h, i);
    if (x < lo) below += h.counts[i];
    else if (x > hi) above += h.counts[i];
    else {
      clipped[i] = h.counts[i];
      level[i] = rne(clampTo(Math.fround(x / s), -z, levels - 1 - z)) + z;
      if (first < 0) first = i;
      last = i;
    }
  }
  if (first < 0) return Infinity;
  const mass = new Float64Array(levels);
  const bins = new Float64Array(levels);
  for (let i = first; i <= last; i++) {
    if (clipped[i] === 0) continue;
    mass[level[i]] += clipped[i];
    bins[level[i]]++;
  }
  clipped[first] += below;
  clipped[last] += above;
  let [p1, q1] = [0, 0];
  for (let i = first; i <= last; i++) {
    p1 += clipped[i];
    if (clipped[i] > 0 && bins[level[i]] > 0) q1 += mass[level[i]] / bins[level[i]];
  }
  let kl = 0;
  for (let i = first; i <= last; i++) {
    if (clipped[i] === 0) continue;
    const q = bins[level[i]] > 0 ? mass[level[i]] / bins[level[i]] / q1 : 0;
    kl += (clipped[i] / p1) * Math.log(clipped[i] / p1 / Math.max(q, 1e-12));
  }
  return kl;
}

export interface ActivationOptions {
  readonly method: RangeMethod;
  /** Share of the values inside the range, in percent (method `percentile`). */
  readonly percentile: number;
  readonly symmetric: boolean;
}

/** Scale and zero point of an activation from its histogram. */
export function activationParams(h: Histogram, scheme: QuantScheme, o: ActivationOptions): QuantParams {
  const at = (lo: number, hi: number): QuantParams => paramsForRange(lo, hi, scheme, o.symmetric);
  if (o.method === 'minmax' || h.max === h.min) return at(h.min, h.max);
  if (o.method === 'percentile') {
    const total = h.counts.reduce((a, b) => a + b, 0);
    const tail = (total * (1 - o.percentile / 100)) / (h.min < 0 && h.max > 0 ? 2 : 1);
    let [lo, hi] = [0, BINS - 1];
    if (h.min < 0) for (let n = h.counts[lo]; n <= tail && lo < hi; n += h.counts[lo]) lo++;
    if (h.max > 0) for (let n = h.counts[hi]; n <= tail && lo < hi; n += h.counts[hi]) hi--;
    const width = (h.max - h.min) / BINS;
    return at(h.min + lo * width, h.min + (hi + 1) * width);
  }
  const loss = o.method === 'mse' ? quantizationError : divergence;
  let best = at(h.min, h.max);
  let bestLoss = loss(h, best);
  const consider = (lo: number, hi: number): void => {
    const p = at(lo, hi);
    const l = loss(h, p);
    if (l < bestLoss) [best, bestLoss] = [p, l];
  };
  for (let i = 1; i < STEPS; i++) consider((h.min * i) / STEPS, (h.max * i) / STEPS);
  // Two-sided ranges: then each side on its own, from the best common clip.
  if (!o.symmetric && h.min < 0 && h.max > 0) {
    const side = (lo: boolean): void => {
      const levels = 2 ** scheme.bits - 1;
      const [a, b] = [-best.zeroPoint[0] * best.scale[0], (levels - best.zeroPoint[0]) * best.scale[0]];
      for (let i = 1; i <= STEPS; i++) consider(lo ? (h.min * i) / STEPS : a, lo ? b : (h.max * i) / STEPS);
    };
    side(true);
    side(false);
  }
  return best;
}

/** Added and taken away again, it leaves an integer: |x| < 2^51. */
const ROUND = 1.5 * 2 ** 52;

/** Σ (Q(x) − x)² at scale s; given up, as Infinity, once it is above `least`. */
function squaredError(x: Float32Array, s: number, lo: number, hi: number, least: number): number {
  let e = 0;
  for (let from = 0; from < x.length; from += 64) {
    const end = Math.min(x.length, from + 64);
    for (let i = from; i < end; i++) {
      let q = x[i] / s + ROUND - ROUND;
      q = q < lo ? lo : q > hi ? hi : q;
      const d = q * s - x[i];
      e += d * d;
    }
    if (e > least) return Infinity;
  }
  return e;
}

/** Scales tried for weights: the largest shrunk in steps of 1/WEIGHT_STEPS. */
const WEIGHT_STEPS = 100;

/**
 * Lower bounds of {@link squaredError} at some scales: n and Σx of all values with one code give the error. They are known up to
 * bins, so that of a bin on the border of two codes all values count to one of them.
 * @param largest magnitude in x, not 0
 */
function errorBounds(x: Float32Array, largest: number, scales: Float32Array, lo: number, hi: number): Float64Array {
  const perUnit = BINS / (2 * largest);
  // Of the values below each bin, and of all.
  const n = new Float64Array(BINS + 1);
  const sum = new Float64Array(BINS + 1);
  let squares = 0;
  for (let i = 0; i < x.length; i++) {
    const v = x[i];
    const bin = Math.min(BINS, 1 + Math.floor((v + largest) * perUnit));
    n[bin]++;
    sum[bin] += v;
    squares += v * v;
  }
  for (let i = 1; i <= BINS; i++) {
    n[i] += n[i - 1];
    sum[i] += sum[i - 1];
  }
  const bounds = new Float64Array(scales.length);
  for (let k = 0; k < bounds.length; k++) {
    const s = scales[k];
    // No rounding of these sums makes a bound too high.
    let error = squares * (1 - 2 ** -30);
    let from = 0;
    for (let q = lo; q <= hi; q++) {
      let to = BINS;
      if (q < hi) {
        const border = Math.min(BINS - 0.5, Math.max(0, ((q + 0.5) * s + largest) * perUnit));
        const bin = Math.floor(border);
        to = Math.floor(border + 0.5);
        // A value counted to the wrong side of the border, off by d, adds 2sd.
        error -= ((n[bin + 1] - n[bin]) * 2 * s * Math.abs(border - to)) / perUnit;
      }
      error += q * s * (q * s * (n[to] - n[from]) - 2 * (sum[to] - sum[from]));
      from = to;
    }
    bounds[k] = error;
  }
  return bounds;
}

/** The scale of least {@link squaredError}; the first of equal ones. */
function bestScale(x: Float32Array, largest: number, lo: number, hi: number): number {
  const scales = Float32Array.from({ length: WEIGHT_STEPS }, (_, i) => (largest / hi) * (1 - i / WEIGHT_STEPS));
  // Few values, or many codes, are quicker tried than bounded.
  const bounds = x.length < 32 * (hi - lo) ? new Float64Array(WEIGHT_STEPS) : errorBounds(x, largest, scales, lo, hi);
  let best = bounds.indexOf(Math.min(...bounds));
  let least = squaredError(x, scales[best], lo, hi, Infinity);
  scales.forEach((s, i) => {
    if (bounds[i] > least) return;
    const e = squaredError(x, s, lo, hi, least);
    if (e < least || (e === least && i < best)) [best, least] = [i, e];
  });
  return scales[best];
}

/**
 * Per-channel scales of signed weight codes. `minmax`: the largest magnitude maps to the largest code; otherwise the shrink of
 * that range with the least squared error, of 100 steps. One bit: the mean magnitude, the least-squares optimum (XNOR-Net).
 * @param w weights, output channel first
 */
export function weightParams(w: Tensor, scheme: QuantScheme, method: 'minmax' | 'mse'): QuantParams {
  const channels = scheme.axis === null ? 1 : w.shape[0];
  const size = w.data.length / channels;
  const data = w.data as Float32Array;
  const scale = new Float32Array(channels);
  const { lo, hi } = codeRange(scheme);
  for (let c = 0; c < channels; c++) {
    const part = data.subarray(c * size, (c + 1) * size);
    let largest = 0;
    let sum = 0;
    for (let i = 0; i < size; i++) {
      const m = Math.abs(part[i]);
      if (m > largest) largest = m;
      sum += m;
    }
    // One bit has no zero: a channel of zeros becomes as small as can be.
    if (largest === 0 || scheme.bits === 1) {
      scale[c] = scheme.bits === 1 ? scaleOf(sum / size) : 1;
      continue;
    }
    scale[c] = scaleOf(method === 'mse' ? bestScale(part, largest, lo, hi) : Math.fround(largest / hi));
  }
  return { scheme, scale, zeroPoint: new Int32Array(channels) };
}
