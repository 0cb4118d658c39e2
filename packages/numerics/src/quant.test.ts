import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  type Bits, type QuantParams, type QuantScheme, clampTo, codeRange, dequantize, dequantizeValue, fakeQuantize, isBits, quantize, quantizeValue, requantize,
  rne, toBits,
} from './index.js';

const ALL_BITS: readonly Bits[] = [1, 2, 3, 4, 5, 6, 7, 8];
const bits = fc.constantFrom(...ALL_BITS);
const f32 = fc.float({ noNaN: true });
const positiveF32 = fc.float({ min: Math.fround(1e-30), max: Math.fround(1e30), noNaN: true });

const view = new DataView(new ArrayBuffer(8));
/** A finite double as integer numerator over a power of two. */
function exact(x: number): { readonly num: bigint; readonly shift: bigint } {
  view.setFloat64(0, x);
  const word = view.getBigUint64(0);
  const exponent = Number((word >> 52n) & 0x7ffn);
  const fraction = word & ((1n << 52n) - 1n);
  const magnitude = exponent === 0 ? fraction : fraction | (1n << 52n);
  const power = Math.max(exponent, 1) - 1075;
  const signed = word >> 63n ? -magnitude : magnitude;
  return power >= 0 ? { num: signed << BigInt(power), shift: 0n } : { num: signed, shift: BigInt(-power) };
}

/** Nearest integer, ties to even, in exact arithmetic. */
function exactRne(x: number): bigint {
  const { num, shift } = exact(x);
  const floor = num >> shift;
  const twice = 2n * (num - (floor << shift));
  const one = 1n << shift;
  return twice > one || (twice === one && floor % 2n !== 0n) ? floor + 1n : floor;
}

describe('rne', () => {
  it('rounds every finite double to the nearest integer, ties to even', () => {
    fc.assert(fc.property(fc.oneof(fc.double({ noNaN: true, noDefaultInfinity: true }), fc.double({ min: -1e6, max: 1e6, noNaN: true })), (x) => BigInt(rne(x)) === exactRne(x)), { numRuns: 2000 });
  });
  it('on ties, their neighbours and at the ends of precision', () => {
    for (let i = -2000; i <= 2000; i++) {
      const tie = i + 0.5;
      for (const x of [tie, tie + Math.abs(tie) * 2 ** -52, tie - Math.abs(tie) * 2 ** -52, i]) expect(BigInt(rne(x)), String(x)).toBe(exactRne(x));
    }
    for (const p of [23, 24, 51, 52, 53]) for (const d of [-1.5, -0.5, 0, 0.5, 1.5]) for (const s of [-1, 1]) expect(BigInt(rne(s * (2 ** p + d)))).toBe(exactRne(s * (2 ** p + d)));
    expect(rne(0.49999999999999994)).toBe(0);
    expect(rne(-0.5)).toBe(-0);
    expect([rne(Infinity), rne(-Infinity), rne(NaN)]).toEqual([Infinity, -Infinity, NaN]);
  });
});

describe('clampTo', () => {
  it('bounds, and takes NaN to the lower bound', () => {
    fc.assert(fc.property(fc.double({ noNaN: true }), fc.integer({ min: -300, max: 0 }), fc.integer({ min: 1, max: 300 }), (t, lo, hi) => clampTo(t, lo, hi) === Math.min(Math.max(t, lo), hi) + 0 || Math.abs(t) === 0));
    expect(clampTo(NaN, -3, 7)).toBe(-3);
    expect([clampTo(Infinity, -3, 7), clampTo(-Infinity, -3, 7)]).toEqual([7, -3]);
  });
});

/** ONNX QuantizeLinear on exact integers: saturate(rne(f32(x / s)) + z). */
function exactQuantize(x: number, scale: number, zeroPoint: number, s: QuantScheme): number {
  const t = Math.fround(x / scale);
  const { lo, hi } = codeRange(s);
  if (s.signed && s.bits === 1) return t < 0 ? -1 : 1;
  if (Number.isNaN(t) || t === -Infinity) return lo;
  if (t === Infinity) return hi;
  const code = exactRne(t) + BigInt(zeroPoint);
  return Number(code < BigInt(lo) ? BigInt(lo) : code > BigInt(hi) ? BigInt(hi) : code);
}

describe('quantise', () => {
  const scheme = fc.record({ bits, signed: fc.boolean(), axis: fc.constant(null) });
  it('equals the definition for every scheme, value, scale and zero point', () => {
    fc.assert(fc.property(scheme, fc.oneof(f32, fc.float(), fc.constantFrom(NaN, Infinity, -Infinity, -0, 3.4e38)), positiveF32, fc.nat(255), (s, x, scale, z) => {
      const zeroPoint = s.signed ? 0 : z & (2 ** s.bits - 1);
      const code = quantizeValue(x, scale, zeroPoint, s);
      expect(code).toBe(exactQuantize(x, scale, zeroPoint, s) + 0);
    }), { numRuns: 2000 });
  });
  it('ties to even on both sides of the zero point', () => {
    const u8: QuantScheme = { bits: 8, signed: false, axis: null };
    const codes = [-2.5, -1.5, -0.5, 0.5, 1.5, 2.5].map((x) => quantizeValue(x * 0.25, 0.25, 100, u8));
    expect(codes).toEqual([98, 98, 100, 100, 102, 102]);
  });
  it('saturates, and sends NaN to the smallest code', () => {
    for (const b of ALL_BITS) {
      const u: QuantScheme = { bits: b, signed: false, axis: null };
      const z = 2 ** b - 1;
      expect([NaN, -Infinity, -1e30, Infinity, 1e30].map((x) => quantizeValue(x, 0.5, z, u))).toEqual([0, 0, 0, z, z]);
      const i: QuantScheme = { ...u, signed: true };
      const { lo, hi } = codeRange(i);
      expect([-Infinity, -1e30, Infinity, 1e30].map((x) => quantizeValue(x, 0.5, 0, i))).toEqual([lo, lo, hi, hi]);
    }
  });
  it('one-bit weights have no zero', () => {
    const sign: QuantScheme = { bits: 1, signed: true, axis: null };
    expect([-1e-30, -0, 0, 1e-30, -7, 7].map((x) => quantizeValue(x, 1, 0, sign))).toEqual([-1, 1, 1, 1, -1, 1]);
  });
  it('is a fixed point: codes survive dequantise and quantise', () => {
    fc.assert(fc.property(scheme, fc.float({ min: Math.fround(1e-20), max: Math.fround(1e20), noNaN: true }), fc.nat(255), (s, scale, z) => {
      const { lo, hi } = codeRange(s);
      const zeroPoint = s.signed ? 0 : z & (2 ** s.bits - 1);
      for (let c = lo; c <= hi; c += s.signed && s.bits === 1 ? 2 : 1) expect(quantizeValue(dequantizeValue(c, scale, zeroPoint), scale, zeroPoint, s)).toBe(c);
    }), { numRuns: 200 });
  });
});

describe('dequantise', () => {
  it('rounds scale · (code − zero point) once', () => {
    fc.assert(fc.property(positiveF32, fc.nat(255), fc.nat(255), (scale, code, z) => {
      // The product of a 24-bit and a 9-bit integer is exact in double precision.
      expect(dequantizeValue(code, scale, z)).toBe(Math.fround(scale * (code - z)));
      const { num, shift } = exact(scale);
      expect(exact(scale * (code - z))).toSatisfy((e: { num: bigint; shift: bigint }) => e.num << shift === (num * BigInt(code - z)) << e.shift);
    }));
  });
  it('works along an axis, and Q(x) is within half a step of x inside the range', () => {
    const shape = [2, 3, 4];
    const params: QuantParams = { scheme: { bits: 5, signed: true, axis: 1 }, scale: Float32Array.of(0.1, 1, 10), zeroPoint: new Int32Array(3) };
    const x = Float32Array.from({ length: 24 }, (_, i) => (i - 12) * params.scale[Math.floor(i / 4) % 3]);
    const codes = quantize(x, shape, params);
    expect([...codes]).toEqual(Array.from({ length: 24 }, (_, i) => i - 12));
    expect([...dequantize(codes, shape, params)]).toEqual([...codes].map((c, i) => Math.fround(c * params.scale[Math.floor(i / 4) % 3])));
    const y = x.map((v, i) => v + 0.3 * params.scale[Math.floor(i / 4) % 3]);
    expect([...fakeQuantize(y, shape, params)]).toEqual([...dequantize(codes, shape, params)]);
  });
});

describe('requantise', () => {
  const int32 = fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 });
  it('rounds each step on its own', () => {
    fc.assert(fc.property(int32, fc.float({ min: 0, max: 4, noNaN: true }), fc.float({ min: -300, max: 300, noNaN: true }), (acc, m, c) => {
      const a = new Float32Array([acc])[0];
      const product = new Float32Array([a * m])[0];
      const t = new Float32Array([product + c])[0];
      const code = exactRne(Math.min(Math.max(t, 0), 255));
      expect(BigInt(requantize(acc, m, c, 0, 255))).toBe(code);
    }), { numRuns: 2000 });
  });
  it('f32(acc) rounds above 2^24, and nothing is fused', () => {
    expect(requantize(2 ** 24 + 1, 2 ** -20, 0, 0, 255)).toBe(16);
    // 129·m is 129 + 2^-16 + 2^-23; f32 drops the last bit, so the sum is the tie 0.5, where a fused multiply-add stays above it.
    const m = 1 + 2 ** -23;
    const c = -(128.5 + 2 ** -16);
    expect([Math.fround(m), Math.fround(c), Math.fround(129 * m + c)]).toEqual([m, c, 0.5 + 2 ** -23]);
    expect(requantize(129, m, c, 0, 255)).toBe(0);
  });
  it('saturates at bounds of a fused activation', () => {
    expect([-1000, 0, 3, 1000].map((acc) => requantize(acc, 1, 0, 2, 6))).toEqual([2, 2, 3, 6]);
    expect(requantize(1, Infinity, -Infinity, 5, 9)).toBe(5);
  });
});

describe('bits', () => {
  it('are integers from 1 to 8', () => {
    expect([0, 1, 8, 9, 1.5, NaN].map(isBits)).toEqual([false, true, true, false, false, false]);
    expect(toBits(3)).toBe(3);
    expect(() => toBits(9)).toThrow(expect.objectContaining({ code: 'E502' }));
  });
});
