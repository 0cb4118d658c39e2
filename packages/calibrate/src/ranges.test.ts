import { type Bits, type QuantParams, type QuantScheme, codeRange, fakeQuantize, quantizeValue } from '@bitloom/numerics';
import { Rng, tensor } from '@bitloom/tensor';
import { describe, expect, it } from 'vitest';
import { BINS, type Histogram, RANGE_METHODS, type RangeMethod, accumulate, activationParams, binCenter, extend, mergeHistograms,
  paramsForRange, weightParams } from './index.js';

const BITS: readonly Bits[] = [1, 2, 3, 4, 5, 6, 7, 8];
const activation = (bits: Bits): QuantScheme => ({ bits, signed: false, axis: null });
const weight = (bits: Bits): QuantScheme => ({ bits, signed: true, axis: 0 });

function histogram(...parts: ArrayLike<number>[]): Histogram {
  const range = { min: Infinity, max: -Infinity };
  for (const p of parts) extend(range, p);
  const h = { ...range, counts: new Float64Array(BINS) };
  for (const p of parts) accumulate(h, p);
  return h;
}

/** Real values of the smallest and the largest code. */
const reach = (p: QuantParams): [number, number] => {
  const { lo, hi } = codeRange(p.scheme);
  return [(lo - p.zeroPoint[0]) * p.scale[0], (hi - p.zeroPoint[0]) * p.scale[0]];
};
const quantised = (x: number, p: QuantParams): number => p.scale[0] * (quantizeValue(x, p.scale[0], p.zeroPoint[0], p.scheme) - p.zeroPoint[0]);
/** Σ counts·(Q(x) − x)², Q by plain rounding to the grid. */
function squaredError(h: Histogram, p: QuantParams): number {
  const [s, z, top] = [p.scale[0], p.zeroPoint[0], codeRange(p.scheme).hi];
  let sum = 0;
  for (let i = 0; i < BINS; i++) {
    const x = binCenter(h, i);
    sum += h.counts[i] * (s * Math.min(top - z, Math.max(-z, Math.round(x / s))) - x) ** 2;
  }
  return sum;
}
const choose = (h: Histogram, bits: Bits, method: RangeMethod, symmetric = false, percentile = 99.99): QuantParams =>
  activationParams(h, activation(bits), { method, percentile, symmetric });

const rng = new Rng(5);
const draw = (n: number, f: () => number): Float32Array => Float32Array.from({ length: n }, f);
const SAMPLES: Readonly<Record<string, Float32Array>> = {
  normal: draw(20000, () => rng.normal()),
  shifted: draw(20000, () => 3 + rng.normal()),
  relu: draw(20000, () => Math.max(0, rng.normal())),
  negative: draw(20000, () => -Math.abs(rng.normal()) - 1),
  heavy: draw(20000, () => rng.normal() / Math.max(0.01, Math.abs(rng.normal()))),
  uniform: draw(20000, () => rng.uniform() * 4 - 1),
};

describe('histograms', () => {
  it('take any number of elements in bounded memory, and leave out NaN and infinities', () => {
    const h = histogram([1, NaN, 3], [Infinity, -2, -Infinity]);
    expect([h.min, h.max, h.counts.length]).toEqual([-2, 3, BINS]);
    expect(h.counts.reduce((a, b) => a + b)).toBe(3);
    expect([h.counts[0], h.counts[BINS - 1]]).toEqual([1, 1]);
    expect(Object.keys(h.counts).length).toBe(BINS);
  });

  it('put every element into the bin whose centre is nearest', () => {
    for (const data of Object.values(SAMPLES)) {
      const h = histogram(data);
      const width = (h.max - h.min) / BINS;
      const counts = new Float64Array(BINS);
      for (const v of data) counts[Math.min(BINS - 1, Math.floor((v - h.min) / width))]++;
      const moved = counts.reduce((s, n, i) => s + Math.abs(n - h.counts[i]), 0);
      expect(moved).toBeLessThanOrEqual(4); // elements on an edge between two bins
    }
  });

  it('of constants and of tiny ranges', () => {
    expect(histogram([2, 2, 2]).counts[0]).toBe(3);
    const tiny = histogram([0, 1e-45, 1e-45]);
    expect([tiny.counts[0], tiny.counts[BINS - 1]]).toEqual([1, 2]);
  });

  it('merge as if the data had been seen together, but for the width of a bin', () => {
    const [a, b] = [SAMPLES.normal, SAMPLES.shifted.map((v) => v * 4)];
    const merged = mergeHistograms([histogram(a), histogram(b)]);
    const direct = histogram(a, b);
    expect([merged.min, merged.max]).toEqual([direct.min, direct.max]);
    const cumulative = (h: Histogram): number[] => {
      let n = 0;
      return Array.from(h.counts, (c) => (n += c));
    };
    const [p, q] = [cumulative(merged), cumulative(direct)];
    expect(p[BINS - 1]).toBe(q[BINS - 1]);
    p.forEach((n, i) => {
      expect(n).toBeGreaterThanOrEqual(q[i - 1] ?? 0);
      expect(n).toBeLessThanOrEqual(q[i + 1] ?? Infinity);
    });
    const alone = histogram(a);
    expect(mergeHistograms([alone])).toBe(alone);
    expect(mergeHistograms([histogram([1, 1]), histogram([1])]).counts[0]).toBe(3);
  });
});

describe('paramsForRange', () => {
  it.each(BITS)('holds the range and represents zero exactly (%i bits)', (bits) => {
    for (const [lo, hi] of [[-1, 3], [-3, 1], [0, 5], [-5, 0], [2, 5], [-5, -2], [-1e-30, 1e-30], [0, 0]]) {
      const p = paramsForRange(lo, hi, activation(bits));
      expect(quantised(0, p)).toBe(0);
      const [a, b] = reach(p);
      // The zero point is rounded, which moves the range by up to half a step; both bounds lie within that.
      expect(a).toBeLessThanOrEqual(Math.min(lo, 0) + 0.501 * p.scale[0]);
      expect(b).toBeGreaterThanOrEqual(Math.max(hi, 0) - 0.501 * p.scale[0]);
      expect(b - a).toBeCloseTo(Math.max(hi, 0) - Math.min(lo, 0), 5);
    }
  });

  it.each(BITS.filter((b) => b > 1))('symmetric: the middle code is zero and both ends are reached (%i bits)', (bits) => {
    for (const [lo, hi] of [[-1, 3], [-3, 1], [0, 5], [-5, -2]]) {
      const p = paramsForRange(lo, hi, activation(bits), true);
      expect(p.zeroPoint[0]).toBe(2 ** (bits - 1));
      const most = Math.max(-lo, hi);
      expect(reach(p)[1]).toBeCloseTo(most, 5);
      expect(reach(p)[0]).toBeLessThanOrEqual(-most * 0.99999);
    }
  });

  it('one bit is zero and the end of the range, symmetric or not', () => {
    for (const symmetric of [false, true]) {
      expect(reach(paramsForRange(0, 4, activation(1), symmetric))).toEqual([0, 4]);
      expect(reach(paramsForRange(-4, 0, activation(1), symmetric))).toEqual([-4, 0]);
    }
  });

  it('scales are positive, finite f32 numbers for every range', () => {
    for (const bits of BITS) {
      for (const [lo, hi] of [[0, 0], [-3.4e38, 3.4e38], [0, 1e-45], [-1e-45, 0]]) {
        for (const symmetric of [false, true]) {
          const [s] = paramsForRange(lo, hi, activation(bits), symmetric).scale;
          expect(s > 0 && Number.isFinite(s) && Number.isFinite(1 / s)).toBe(true);
        }
      }
    }
  });
});

describe('activation ranges', () => {
  it.each(Object.keys(SAMPLES))('minmax is exact (%s)', (name) => {
    const data = SAMPLES[name];
    const h = histogram(data);
    for (const bits of BITS) expect(choose(h, bits, 'minmax')).toEqual(paramsForRange(data.reduce((a, v) => Math.min(a, v)),
      data.reduce((a, v) => Math.max(a, v)), activation(bits)));
  });

  it.each(Object.keys(SAMPLES))('mse: no range of the grid has a smaller squared error (%s)', (name) => {
    const h = histogram(SAMPLES[name]);
    for (const bits of [1, 2, 4, 8] as const) {
      for (const symmetric of [false, true]) {
        const found = squaredError(h, choose(h, bits, 'mse', symmetric));
        for (let i = 1; i <= 80; i++) {
          expect(found).toBeLessThanOrEqual(squaredError(h,
            paramsForRange((h.min * i) / 80, (h.max * i) / 80, activation(bits), symmetric)) * (1 + 1e-6));
        }
      }
    }
  });

  it('mse finds what a search over both ends finds, within 3 %', () => {
    for (const name of ['normal', 'relu', 'uniform']) {
      const h = histogram(SAMPLES[name]);
      for (const bits of [2, 4] as const) {
        let best = Infinity;
        for (let i = 1; i <= 32; i++) for (let j = 1; j <= 32; j++) best = Math.min(best,
          squaredError(h, paramsForRange((Math.min(0, h.min) * i) / 32, (Math.max(0, h.max) * j) / 32, activation(bits))));
        expect(squaredError(h, choose(h, bits, 'mse')), `${name} ${bits}`).toBeLessThanOrEqual(best * 1.03);
      }
    }
  });

  it('mse on the data itself is the error it promises, and never above minmax', () => {
    for (const [name, data] of Object.entries(SAMPLES)) {
      const h = histogram(data);
      for (const bits of [2, 4, 8] as const) {
        const error = (p: QuantParams): number => fakeQuantize(data, [data.length], p).reduce((s, v, i) => s + (v - data[i]) ** 2, 0);
        const mse = error(choose(h, bits, 'mse'));
        expect(mse, `${name} ${bits}`).toBeLessThanOrEqual(error(choose(h, bits, 'minmax')) * 1.02);
        // Elements of a bin are counted at its centre.
        if (bits < 8 && name !== 'heavy') expect(mse / squaredError(h, choose(h, bits, 'mse'))).toBeCloseTo(1, 1);
      }
    }
  });

  it('percentile cuts the tails that it says, on both sides or on the one that is there', () => {
    const ramp = Float32Array.from({ length: 100_000 }, (_, i) => i / 100_000);
    const cut = (data: Float32Array, percentile: number): [number, number] => reach(choose(histogram(data), 8, 'percentile', false, percentile));
    expect(cut(ramp, 90)[1]).toBeCloseTo(0.9, 2);
    expect(cut(ramp, 100)[1]).toBeCloseTo(1, 4);
    expect(cut(ramp.map((v) => -v), 90)[0]).toBeCloseTo(-0.9, 2);
    const [lo, hi] = cut(ramp.map((v) => 2 * v - 1), 90);
    expect([lo, hi].map((v) => Math.round(v * 50) / 50)).toEqual([-0.9, 0.9]);
    // Normal quantiles: 99 % of the mass lies within 2.576 deviations.
    const [a, b] = cut(SAMPLES.normal, 99);
    expect(Math.abs(a + 2.576)).toBeLessThan(0.1);
    expect(Math.abs(b - 2.576)).toBeLessThan(0.1);
  });

  it('entropy keeps most of a normal distribution and cuts the outliers of a heavy-tailed one', () => {
    const [lo, hi] = reach(choose(histogram(SAMPLES.normal), 8, 'entropy'));
    expect(lo).toBeLessThan(-2.5);
    expect(hi).toBeGreaterThan(2.5);
    const heavy = histogram(SAMPLES.heavy);
    const [a, b] = reach(choose(heavy, 8, 'entropy'));
    expect(b - a).toBeLessThan(0.6 * (heavy.max - heavy.min));
    const inside = SAMPLES.heavy.filter((v) => v >= a && v <= b).length / SAMPLES.heavy.length;
    expect(inside).toBeGreaterThan(0.98);
    const narrow = reach(choose(histogram(SAMPLES.relu), 4, 'entropy'));
    expect(narrow[0]).toBe(0);
    expect(narrow[1]).toBeGreaterThan(1.2);
  });

  it('every method gives usable numbers for every tensor, bit-width and symmetry', () => {
    const odd: Readonly<Record<string, readonly number[]>> = {
      zero: [0, 0, 0], constant: [3, 3], one: [-7], 'two values': [-1, 5], 'all negative': [-4, -3, -1], 'all positive': [1, 2, 9],
      huge: [-3e38, 3e38], tiny: [0, 1e-42],
    };
    for (const [name, data] of [...Object.entries(odd), ...Object.entries(SAMPLES)]) {
      const h = histogram(data);
      for (const method of RANGE_METHODS) {
        for (const bits of data.length > 9 ? ([1, 3, 8] as const) : BITS) {
          for (const symmetric of [false, true]) {
            const p = choose(h, bits, method, symmetric);
            const { hi } = codeRange(p.scheme);
            expect(p.scale.length === 1 && p.scale[0] > 0 && Number.isFinite(p.scale[0]), `${name} ${method} ${bits}`).toBe(true);
            expect(p.zeroPoint[0]).toBeGreaterThanOrEqual(0);
            expect(p.zeroPoint[0]).toBeLessThanOrEqual(hi);
            expect(quantised(0, p)).toBe(0);
          }
        }
      }
    }
    // A constant is exact up to f32 rounding, at any width.
    for (const method of RANGE_METHODS) for (const bits of BITS) for (const v of [3, -2]) expect(quantised(v,
      choose(histogram([v, v]), bits, method))).toBeCloseTo(v, 5);
  });
});

describe('weightParams', () => {
  const channel = (w: Float32Array, s: number, bits: Bits): number =>
    w.reduce((sum, v) => sum + (s * quantizeValue(v, s, 0, weight(bits)) - v) ** 2, 0);
  const data = draw(6 * 27, () => rng.normal()).map((v, i) => (Math.floor(i / 27) === 2 ? 0 : v * 10 ** (Math.floor(i / 27) - 3)));
  const w = tensor('f32', [6, 3, 3, 3], data);
  const row = (o: number): Float32Array => data.subarray(o * 27, (o + 1) * 27);

  it('one scale per output channel, zero points zero, zero channels stay zero', () => {
    for (const bits of BITS) {
      const p = weightParams(w, weight(bits), 'mse');
      expect([p.scale.length, p.zeroPoint.length]).toEqual([6, 6]);
      expect([...p.zeroPoint]).toEqual([0, 0, 0, 0, 0, 0]);
      expect([...p.scale].every((s) => s > 0 && Number.isFinite(s))).toBe(true);
      // Nothing but ±scale can be said in one bit.
      if (bits > 1) expect([...fakeQuantize(data, w.shape, p).subarray(54, 81)].every((v) => v === 0)).toBe(true);
      else expect(p.scale[2]).toBeLessThan(1e-20);
    }
  });

  it('minmax maps the largest magnitude to the largest code', () => {
    for (const bits of BITS.slice(1)) {
      const p = weightParams(w, weight(bits), 'minmax');
      for (const o of [0, 1, 3, 4, 5]) {
        const most = row(o).reduce((m, v) => Math.max(m, Math.abs(v)), 0);
        expect(p.scale[o] * codeRange(p.scheme).hi).toBeCloseTo(most, 4 - o);
      }
    }
  });

  it('mse is never above minmax, and within 5 % of the best of 2,000 scales', () => {
    for (const bits of [2, 3, 4, 8] as const) {
      const [mse, minmax] = [weightParams(w, weight(bits), 'mse'), weightParams(w, weight(bits), 'minmax')];
      for (const o of [0, 1, 3, 4, 5]) {
        const found = channel(row(o), mse.scale[o], bits);
        expect(found).toBeLessThanOrEqual(channel(row(o), minmax.scale[o], bits));
        if (bits === 8) continue;
        let best = Infinity;
        for (let i = 1; i <= 2000; i++) best = Math.min(best, channel(row(o), (minmax.scale[o] * i) / 1900, bits));
        expect(found).toBeLessThanOrEqual(best * 1.05);
      }
    }
  });

  it('mse finds the best of its steps, the first of equal ones, however many values there are', () => {
    for (const size of [9, 100, 700, 3000]) {
      for (const bits of [2, 4, 5, 8] as const) {
        const x = draw(size, () => rng.normal() ** 3);
        const largest = x.reduce((m, v) => Math.max(m, Math.abs(v)), 0) / codeRange(weight(bits)).hi;
        const steps = Array.from({ length: 100 }, (_, i) => Math.fround(largest * (1 - i / 100)));
        const errors = steps.map((s) => channel(x, s, bits));
        const { scale } = weightParams(tensor('f32', [1, size], x), weight(bits), 'mse');
        expect(errors[steps.indexOf(scale[0])] / Math.min(...errors)).toBeCloseTo(1, 6);
      }
    }
  });

  it('one bit: the mean magnitude, which no other scale beats', () => {
    const p = weightParams(w, weight(1), 'mse');
    for (const o of [0, 1, 3, 4, 5]) {
      const mean = row(o).reduce((s, v) => s + Math.abs(v), 0) / 27;
      expect(p.scale[o] / mean).toBeCloseTo(1, 6);
      for (const k of [0.8, 0.95, 1.05, 1.2]) expect(channel(row(o), p.scale[o], 1)).toBeLessThan(channel(row(o), p.scale[o] * k, 1));
    }
  });

  it('one scale for the tensor where the scheme has no axis', () => {
    const p = weightParams(w, { bits: 4, signed: true, axis: null }, 'minmax');
    expect(p.scale.length).toBe(1);
    expect(p.scale[0] * 7).toBeCloseTo(data.reduce((m, v) => Math.max(m, Math.abs(v)), 0), 3);
  });
});
