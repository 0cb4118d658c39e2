import { type Bits, codeRange } from '@bitloom/numerics';
import { Rng } from '@bitloom/tensor';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { PACKINGS, type PackingName, type WeightShape } from './index.js';

const ALL_BITS: readonly Bits[] = [1, 2, 3, 4, 5, 6, 7, 8];

function integers(s: WeightShape, seed: number): Int8Array {
  const rng = new Rng(seed);
  const { lo, hi } = codeRange({ bits: s.bits!, signed: true, axis: null });
  return Int8Array.from({ length: s.rows * s.k }, () => (s.bits === 1 ? 2 * rng.int(2) - 1 : lo + rng.int(hi - lo + 1)));
}

const sizes = fc.record({ rows: fc.integer({ min: 0, max: 9 }), k: fc.integer({ min: 1, max: 70 }), seed: fc.nat(2 ** 31) });

describe('packings', () => {
  it('names are complete', () => expect(Object.keys(PACKINGS)).toEqual(['planes', 'bytes', 'f32', 'panel4']));

  it.each(['planes', 'bytes'] as const)('%s: unpack ∘ pack is the identity at every width, and bytes() is the size', (name) => {
    fc.assert(fc.property(sizes, fc.constantFrom(...ALL_BITS), ({ rows, k, seed }, bits) => {
      const s = { rows, k, bits };
      const values = integers(s, seed);
      const packed = PACKINGS[name].pack(values, s);
      expect(packed.length).toBe(PACKINGS[name].bytes(s));
      expect(PACKINGS[name].unpack(packed, s)).toEqual(values);
    }), { numRuns: 200 });
  });

  it.each(['f32', 'panel4'] as const)('%s: every float comes back bit for bit, from any byte offset', (name: PackingName) => {
    fc.assert(fc.property(sizes, fc.nat(7), ({ rows, k, seed }, shift) => {
      const s = { rows, k, bits: null };
      const rng = new Rng(seed);
      const values = Float32Array.from({ length: rows * k }, (_, i) => (i % 7 === 0 ? -0 : rng.normal()));
      const packed = PACKINGS[name].pack(values, s);
      expect(packed.length).toBe(PACKINGS[name].bytes(s));
      const moved = new Uint8Array(packed.length + shift).subarray(shift);
      moved.set(packed);
      expect(PACKINGS[name].unpack(moved, s)).toEqual(values);
    }), { numRuns: 100 });
  });

  it('planes take exactly `bits` bits a weight but for the last byte of a plane', () => {
    for (const bits of ALL_BITS) expect(PACKINGS.planes.bytes({ rows: 10, k: 144, bits })).toBe((10 * 144 * bits) / 8);
    expect(PACKINGS.planes.bytes({ rows: 3, k: 9, bits: 5 })).toBe(3 * 5 * 2);
  });

  it('panels hold four channels side by side, missing ones zero', () => {
    const packed = PACKINGS.panel4.pack(Float32Array.from({ length: 10 }, (_, i) => i + 1), { rows: 5, k: 2, bits: null });
    expect([...new Float32Array(packed.buffer)]).toEqual([1, 3, 5, 7, 2, 4, 6, 8, 9, 0, 0, 0, 10, 0, 0, 0]);
  });

  it('planes of floats are an internal error', () => {
    expect(() => PACKINGS.planes.pack(Float32Array.of(1), { rows: 1, k: 1, bits: null })).toThrow(expect.objectContaining({ code: 'E901' }));
  });
});
