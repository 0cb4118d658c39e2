import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Bits, codeRange, packPlanes, planeRowBytes, unpackPlanes, weightAlpha, weightBeta, weightCode, weightValue } from './index.js';

const ALL_BITS: readonly Bits[] = [1, 2, 3, 4, 5, 6, 7, 8];
const PAIRS = ALL_BITS.flatMap((w) => ALL_BITS.map((a) => [w, a] as const));

const popcount = (byte: number): number => byte.toString(2).replaceAll('0', '').length;
const dot = (a: ArrayLike<number>, b: ArrayLike<number>): number => Array.from(a).reduce((s, v, i) => s + v * b[i], 0);
const sum = (a: ArrayLike<number>): number => Array.from(a).reduce((s, v) => s + v, 0);

/** Σ_ij 2^(i+j) · popcount(W_i AND X_j) over the bytes of two packed rows. */
function planeProduct(w: Uint8Array, x: Uint8Array, wBits: Bits, xBits: Bits, k: number): number {
  const rb = planeRowBytes(k);
  let p = 0;
  for (let i = 0; i < wBits; i++) for (let j = 0; j < xBits; j++) for (let b = 0; b < rb; b++) p += 2 ** (i + j) * popcount(w[i * rb + b] & x[j * rb + b]);
  return p;
}

describe('planes', () => {
  it('round trip for all widths and ragged lengths', () => {
    const matrix = fc.record({ bits: fc.constantFrom(...ALL_BITS), rows: fc.nat(4), k: fc.nat(40) })
      .chain((s) => fc.record({ s: fc.constant(s), codes: fc.array(fc.nat(2 ** s.bits - 1), { minLength: s.rows * s.k, maxLength: s.rows * s.k }) }));
    fc.assert(fc.property(matrix, ({ s: { bits, rows, k }, codes }) => {
      const packed = packPlanes(codes, rows, k, bits);
      expect(packed.length).toBe(rows * bits * Math.ceil(k / 8));
      expect([...unpackPlanes(packed, rows, k, bits)]).toEqual(codes);
      // Exactly the set bits: nothing in the padding.
      expect(sum(packed.map(popcount))).toBe(sum(codes.map(popcount)));
    }), { numRuns: 300 });
  });
  it('lie least significant bit first, element j in bit j % 8', () => {
    expect([...packPlanes([1, 0, 3, 0, 0, 0, 0, 2, 3], 1, 9, 2)]).toEqual([0b00000101, 0b1, 0b10000100, 0b1]);
  });
});

describe('weight codes', () => {
  it('are affine in the value, cover exactly 0 … 2^b − 1, and come back', () => {
    for (const bits of ALL_BITS) {
      const { lo, hi } = codeRange({ bits, signed: true, axis: null });
      const values = Array.from({ length: hi - lo + 1 }, (_, i) => lo + i).filter((v) => bits > 1 || v !== 0);
      expect(values.map((v) => weightCode(v, bits))).toEqual(Array.from({ length: 2 ** bits }, (_, u) => u));
      for (const v of values) {
        expect(weightValue(weightCode(v, bits), bits)).toBe(v);
        expect(weightAlpha(bits) * weightCode(v, bits) - weightBeta(bits)).toBe(v);
      }
    }
  });
});

describe('binary decomposition', () => {
  it.each(PAIRS)('W%iA%i: planes give ⟨u_w, u_x⟩, and the corrections the integer and every affine result', (wBits, xBits) => {
    const row = (bits: Bits, k: number): fc.Arbitrary<number[]> => fc.array(fc.nat(2 ** bits - 1), { minLength: k, maxLength: k });
    const pair = fc.nat(300).chain((k) => fc.tuple(row(wBits, k), row(xBits, k), fc.nat(2 ** xBits - 1), fc.nat(2 ** wBits - 1)));
    fc.assert(fc.property(pair, ([uw, ux, zx, zw]) => {
      const n = uw.length;
      const p = planeProduct(packPlanes(uw, 1, n, wBits), packPlanes(ux, 1, n, xBits), wBits, xBits, n);
      expect(p).toBe(dot(uw, ux));
      // acc = Σ v·(u_x − z_x) = α·P − β·Σu_x − z_x·Σv: what the kernels compute.
      const v = uw.map((u) => weightValue(u, wBits));
      expect(weightAlpha(wBits) * p - weightBeta(wBits) * sum(ux) - zx * sum(v)).toBe(dot(v, ux.map((u) => u - zx)) + 0);
      // Affine on both sides.
      expect(p - zw * sum(ux) - zx * sum(uw) + n * zw * zx).toBe(dot(uw.map((u) => u - zw), ux.map((u) => u - zx)) + 0);
      // DoReFa and PACT: weights 2u − (2^M − 1).
      expect(2 * p - (2 ** wBits - 1) * sum(ux)).toBe(dot(uw.map((u) => 2 * u - (2 ** wBits - 1)), ux) + 0);
    }), { numRuns: 12 });
  });
});
