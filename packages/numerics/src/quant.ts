import { fail } from '@bitloom/diagnostics';

export type Bits = 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8;

/**
 * What a quantised value's codes look like.
 *
 * - unsigned (activations): code u ∈ [0, 2^bits − 1], any zero point in that range;
 * - signed (weights): integer value v ∈ [−2^(bits−1), 2^(bits−1) − 1], zero point 0; one bit means v ∈ {−1, +1}.
 *
 * `axis` null: one scale for the tensor; otherwise one scale per index of that axis.
 */
export interface QuantScheme {
  readonly bits: Bits;
  readonly signed: boolean;
  readonly axis: number | null;
}

/** A scheme with its numbers: real value = scale · (code − zeroPoint), in f32. Both arrays have one entry, or one per index of `axis`. */
export interface QuantParams {
  readonly scheme: QuantScheme;
  readonly scale: Float32Array;
  readonly zeroPoint: Int32Array;
}

export const isBits = (b: number): b is Bits => Number.isInteger(b) && b >= 1 && b <= 8;

export function toBits(b: number): Bits {
  if (!isBits(b)) fail('E502', 'bit-width out of range', { found: String(b), expected: 'an integer from 1 to 8' });
  return b;
}

/** Smallest and largest integer of a scheme; one-bit signed values are −1 and +1 with nothing between. */
export function codeRange(s: QuantScheme): { readonly lo: number; readonly hi: number } {
  if (!s.signed) return { lo: 0, hi: 2 ** s.bits - 1 };
  return s.bits === 1 ? { lo: -1, hi: 1 } : { lo: -(2 ** (s.bits - 1)), hi: 2 ** (s.bits - 1) - 1 };
}

/** Rounds to the nearest integer, ties to even (IEEE 754 roundToIntegralTiesToEven). Exact for every finite double. */
export function rne(x: number): number {
  const r = Math.round(x);
  return r - x === 0.5 && r % 2 !== 0 ? r - 1 : r;
}

/** `lo < t ? t : lo`, then `t < hi ? t : hi`: NaN becomes `lo` on every backend. */
export function clampTo(t: number, lo: number, hi: number): number {
  const u = lo < t ? t : lo;
  return u < hi ? u : hi;
}

/**
 * Quantises one f32 value as ONNX QuantizeLinear does: clamp(rne(x / scale) + zeroPoint), division in f32.
 * NaN gives the smallest code. One-bit signed: −1 for x/scale < 0, else +1.
 */
export function quantizeValue(x: number, scale: number, zeroPoint: number, s: QuantScheme): number {
  const t = Math.fround(x / scale);
  if (s.signed && s.bits === 1) return t < 0 ? -1 : 1;
  // codeRange without an object for each value
  const lo = s.signed ? -(1 << (s.bits - 1)) : 0;
  const hi = lo + (1 << s.bits) - 1;
  return rne(clampTo(t, lo - zeroPoint, hi - zeroPoint)) + zeroPoint;
}

/** scale · (code − zeroPoint), one f32 rounding. */
export const dequantizeValue = (code: number, scale: number, zeroPoint: number): number => Math.fround(scale * (code - zeroPoint));

/** Elements that share an entry of scale/zeroPoint: calls `f` with each run of them. */
function eachRun(n: number, shape: readonly number[], p: QuantParams, f: (from: number, to: number, scale: number, zeroPoint: number) => void): void {
  const { axis } = p.scheme;
  const inner = axis === null ? n : shape.slice(axis + 1).reduce((a, d) => a * d, 1);
  const entries = axis === null ? 1 : shape[axis];
  for (let from = 0, i = 0; from < n; from += inner, i++) f(from, from + inner, p.scale[i % entries], p.zeroPoint[i % entries]);
}

/** Integer codes of a float tensor (row-major data of `shape`). */
export function quantize(data: ArrayLike<number>, shape: readonly number[], p: QuantParams): Int32Array {
  const out = new Int32Array(data.length);
  eachRun(out.length, shape, p, (from, to, scale, zeroPoint) => {
    for (let i = from; i < to; i++) out[i] = quantizeValue(data[i], scale, zeroPoint, p.scheme);
  });
  return out;
}

/** Float tensor of integer codes. */
export function dequantize(codes: ArrayLike<number>, shape: readonly number[], p: QuantParams): Float32Array {
  const out = new Float32Array(codes.length);
  eachRun(out.length, shape, p, (from, to, scale, zeroPoint) => {
    for (let i = from; i < to; i++) out[i] = dequantizeValue(codes[i], scale, zeroPoint);
  });
  return out;
}

/** Q(x): the float values nearest to `data` that the codes can express. */
export function fakeQuantize(data: Float32Array, shape: readonly number[], p: QuantParams): Float32Array {
  return dequantize(quantize(data, shape, p), shape, p);
}

/**
 * The epilogue of every integer kernel: f32(acc)·multiplier + offset, each step rounded to f32, no fused multiply-add,
 * then clamped to [lo, hi] and rounded to nearest even. `lo` and `hi` are integers.
 */
export function requantize(acc: number, multiplier: number, offset: number, lo: number, hi: number): number {
  return rne(clampTo(Math.fround(Math.fround(Math.fround(acc) * multiplier) + offset), lo, hi));
}
