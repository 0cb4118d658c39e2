import { weightParams } from '@bitloom/calibrate';
import { type Bits, codeRange, quantize } from '@bitloom/numerics';
import { Rng, tensor } from '@bitloom/tensor';
import { weightScheme } from '@bitloom/transforms';
import { describe, expect, it } from 'vitest';
import { type Quadratic, type Rounded, descend, nearest, onGrid, outputErrors, relax } from './index.js';

const BITS: readonly Bits[] = [1, 2, 3, 4, 5, 6, 7, 8];

/** Correlated inputs, some of them off by a quantiser's error. */
function problem(seed: number, rows: number, columns: number, groups = 1, samples = 40): Quadratic {
  const rng = new Rng(seed);
  const weights = Float32Array.from({ length: rows * columns }, () => rng.normal());
  const gram = new Float32Array(groups * columns * columns);
  const cross = new Float32Array(rows * columns);
  const residual = new Float64Array(rows);
  for (let g = 0; g < groups; g++) {
    for (let n = 0; n < samples; n++) {
      const common = 2 * rng.normal();
      const x = Float64Array.from({ length: columns }, () => common + rng.normal());
      const off = x.map(() => 0.1 * rng.normal());
      for (let i = 0; i < columns; i++) for (let j = 0; j < columns; j++) gram[(g * columns + i) * columns + j] += (x[i] * x[j]) / samples;
      for (let row = (g * rows) / groups; row < ((g + 1) * rows) / groups; row++) {
        const r = off.reduce((s, d, i) => s + d * weights[row * columns + i], 0);
        for (let i = 0; i < columns; i++) cross[row * columns + i] += (r * x[i]) / samples;
        residual[row] += r ** 2 / samples;
      }
    }
  }
  return { groups, rows, columns, weights, gram, cross, residual };
}

const paramsOf = (p: Quadratic, bits: Bits): ReturnType<typeof weightParams> =>
  weightParams(tensor('f32', [p.rows, p.columns], p.weights), weightScheme(bits), 'mse');
const total = (p: Quadratic, r: Rounded): number => outputErrors(p, r).reduce((s, v) => s + v, 0);

/** Least error of a row over all roundings down or up, by trying them. */
function exhaustive(p: Quadratic, start: Rounded, bits: Bits): Float64Array {
  const { lo, hi } = codeRange(weightScheme(bits));
  const step = bits === 1 ? 2 : 1;
  const best = new Float64Array(p.rows).fill(Infinity);
  for (let mask = 0; mask < 2 ** p.columns; mask++) {
    const codes = start.codes.map((_, i) => {
      const t = p.weights[i] / start.scale[Math.floor(i / p.columns)];
      const down = step === 2 ? lo : Math.min(hi - 1, Math.max(lo, Math.floor(t)));
      return down + ((mask >> (i % p.columns)) & 1) * step;
    });
    outputErrors(p, { codes, scale: start.scale }).forEach((e, row) => (best[row] = Math.min(best[row], e)));
  }
  return best;
}

describe('rounding by the output error', () => {
  it.each([1, 2, 3, 4] as const)('%i bits: flips and relaxation come near the best rounding of all, and never fall behind the nearest', async (bits) => {
    const ratio = { flips: 0, relaxed: 0 };
    const seeds = 6;
    for (let seed = 0; seed < seeds; seed++) {
      const p = problem(seed, 4, 7, 2);
      const q = paramsOf(p, bits);
      const start = nearest(p, q);
      const best = exhaustive(p, start, bits).reduce((s, v) => s + v, 0);
      const flips = descend(p, start, start, q, { sweeps: 30, refits: 0 });
      const relaxed = descend(p, await relax(p, start, q), start, q, { sweeps: 30, refits: 0 });
      const before = outputErrors(p, start);
      outputErrors(p, flips).forEach((e, row) => expect(e).toBeLessThanOrEqual(before[row]));
      expect(flips.scale).toEqual(start.scale);
      ratio.flips += total(p, flips) / best / seeds;
      ratio.relaxed += total(p, relaxed) / best / seeds;
    }
    // Flips may leave the two neighbours of a weight, so that they may even fall below.
    expect(ratio.flips).toBeLessThan(1.5);
    expect(ratio.relaxed).toBeLessThan(1.2);
  });

  it('scales fitted by least squares lower the error further', () => {
    for (const bits of BITS) {
      const p = problem(bits, 3, 20);
      const q = paramsOf(p, bits);
      const start = nearest(p, q);
      const flips = descend(p, start, start, q, { sweeps: 30, refits: 0 });
      const fitted = descend(p, start, start, q, { sweeps: 30, refits: 5 });
      const [a, b] = [outputErrors(p, flips), outputErrors(p, fitted)];
      b.forEach((e, row) => expect(e).toBeLessThanOrEqual(a[row]));
      expect([...fitted.scale].every((s) => s > 0 && Number.isFinite(s))).toBe(true);
      if (bits < 4) expect(total(p, fitted)).toBeLessThan(0.99 * total(p, flips));
    }
  });

  it.each(BITS)('%i bits: codes stay in range, and the values on the grid quantise to them', (bits) => {
    const p = problem(20 + bits, 5, 30);
    // Scales too small and too large, so that codes saturate.
    const q = { ...paramsOf(p, bits), scale: Float32Array.of(0.01, 0.1, 0.3, 1, 7e-20) };
    const { lo, hi } = codeRange(q.scheme);
    const r = descend(p, nearest(p, q), nearest(p, q), q, { sweeps: 10, refits: 3 });
    expect(r.codes.every((v) => v >= lo && v <= hi && (bits > 1 || v !== 0))).toBe(true);
    expect([...quantize(onGrid(p, r), [5, 30], { ...q, scale: r.scale })]).toEqual([...r.codes]);
    const any = { codes: Int32Array.from({ length: 150 }, (_, i) => (bits === 1 ? (i % 2) * 2 - 1 : lo + (i % (hi - lo + 1)))), scale: q.scale };
    expect([...quantize(onGrid(p, any), [5, 30], q)]).toEqual([...any.codes]);
  });

  it('inputs that are always zero leave codes as they are', () => {
    const p = problem(3, 1, 4);
    p.gram.fill(0);
    p.cross.fill(0);
    const q = paramsOf(p, 3);
    expect(descend(p, nearest(p, q), nearest(p, q), q, { sweeps: 5, refits: 2 })).toMatchObject(nearest(p, q));
  });
});
