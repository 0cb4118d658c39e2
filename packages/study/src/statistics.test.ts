import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { estimate } from './statistics.js';

describe('estimate', () => {
  it('by hand: mean and sample standard deviation', () => {
    expect(estimate([])).toBeNull();
    expect(estimate([3])).toEqual({ mean: 3, spread: null });
    // Deviations -3, -1, 0, 4 of a mean of 5: √(26/3).
    const e = estimate([2, 4, 5, 9])!;
    expect(e.mean).toBe(5);
    expect(e.spread).toBeCloseTo(Math.sqrt(26 / 3), 14);
    expect(estimate([91.2, 91.5, 91.8])!.mean).toBeCloseTo(91.5, 12);
    expect(estimate([91.2, 91.5, 91.8])!.spread).toBeCloseTo(0.3, 12);
  });

  it('equal values have no spread, whatever they are', () => fc.assert(fc.property(fc.double({ min: -1e9, max: 1e9, noNaN: true }), fc.integer({ min: 2, max: 9 }), (v, n) => {
    expect(estimate(new Array<number>(n).fill(v))).toEqual({ mean: v + 0, spread: 0 });
  })));

  it('moving and scaling the values moves and scales both', () => fc.assert(fc.property(fc.array(fc.integer({ min: -100, max: 100 }), { minLength: 2, maxLength: 8 }), fc.integer({ min: -50, max: 50 }), (values, by) => {
    const [a, b] = [estimate(values)!, estimate(values.map((v) => 2 * v + by))!];
    expect(b.mean).toBeCloseTo(2 * a.mean + by, 9);
    expect(b.spread).toBeCloseTo(2 * a.spread!, 9);
  })));
});
