/** Factors in place of divisions give the same codes, shown for all of them. */
import { type Expr, type NestBuilder, e } from '@bitloom/kernel-spec';
import { type Bits, type QuantParams, dequantizeValue, quantizeValue } from '@bitloom/numerics';
import { Rng } from '@bitloom/tensor';
import { describe, expect, it } from 'vitest';
import { activationScheme } from './precision.js';
import { reciprocal } from './reciprocal.js';

const params = (bits: Bits, scale: number, zero: number): QuantParams =>
  ({ scheme: activationScheme(bits), scale: Float32Array.of(scale), zeroPoint: Int32Array.of(zero) });
const random = (rng: Rng, bits: Bits): QuantParams => params(bits, 10 ** (4 * rng.uniform() - 3), rng.int(2 ** bits));
const code = (x: number, q: QuantParams): number => quantizeValue(x, q.scale[0], q.zeroPoint[0], q.scheme);
/** As code that multiplies does it, clamped and rounded to even. */
function multiplied(x: number, r: number, q: QuantParams): number {
  const z = q.zeroPoint[0];
  const t = Math.min(2 ** q.scheme.bits - 1 - z, Math.max(-z, Math.fround(x * r)));
  const floor = Math.floor(t);
  return z + (t - floor < 0.5 || (t - floor === 0.5 && floor % 2 === 0) ? floor : floor + 1);
}
const values = (q: QuantParams): number[] => Array.from({ length: 2 ** q.scheme.bits }, (_, c) => dequantizeValue(c, q.scale[0], q.zeroPoint[0]));
const same = (_: NestBuilder, [x]: Expr[]): Expr => x;
const sum = (_: NestBuilder, [x, y]: Expr[]): Expr => e.pmax(e.add(x, y), e.f32(0));

describe('reciprocal', () => {
  it('gives the codes of the division, whatever the code', () => {
    let found = 0;
    for (let seed = 0; seed < 60; seed++) {
      const rng = new Rng(seed);
      const [out, x] = [random(rng, ([1, 2, 4, 8] as const)[seed % 4]), random(rng, 8)];
      const r = reciprocal(out, [x], same);
      if (r === null) continue;
      found++;
      for (const v of values(x)) expect(multiplied(v, r, out)).toBe(code(v, out));
    }
    expect(found).toBe(60);
  });

  it('of sums of two', () => {
    let found = 0;
    for (let seed = 0; seed < 12; seed++) {
      const rng = new Rng(100 + seed);
      const [out, x, y] = [8, 8, 8].map((b) => random(rng, b as Bits));
      const r = reciprocal(out, [x, y], sum);
      if (r === null) continue;
      found++;
      const wrong = values(x).flatMap((a) => values(y).map((b) => Math.max(0, Math.fround(a + b)))).filter((v) => multiplied(v, r, out) !== code(v, out));
      expect(wrong).toEqual([]);
    }
    expect(found).toBeGreaterThan(8);
  });

  it('is not the rounded reciprocal where that gives another code', () => {
    const halves = [...Array(2000).keys()].flatMap((n) => {
      const scale = Math.fround(0.01 + n * 1e-4);
      return [...Array(250).keys()].map((k) => ({ scale, half: Math.fround((k + 0.5) * scale) }));
    });
    const { scale, half } = halves.find((h) => multiplied(h.half, Math.fround(1 / h.scale), params(8, h.scale, 0)) !== code(h.half, params(8, h.scale, 0)))!;
    const [out, x] = [params(8, scale, 0), params(1, half, 0)];
    const r = reciprocal(out, [x], same);
    expect(r).not.toBe(Math.fround(1 / scale));
    if (r !== null) expect(multiplied(half, r, out)).toBe(code(half, out));
  });

  it('is none of floats, of nothing, and of more operands than can be tried', () => {
    const q = params(8, 0.1, 0);
    expect(reciprocal(q, [null], same)).toBeNull();
    expect(reciprocal(q, [], () => e.f32(1))).toBeNull();
    expect(reciprocal(q, [q, q, q], sum)).toBeNull();
  });
});
