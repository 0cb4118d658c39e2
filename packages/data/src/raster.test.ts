import { BitloomError } from '@bitloom/diagnostics';
import { Rng } from '@bitloom/tensor';
import { describe, expect, it } from 'vitest';
import { type Raster, fit } from './raster.js';

function random(width: number, height: number, channels: 1 | 3, seed: number): Raster {
  const rng = new Rng(seed);
  return { width, height, channels, data: Uint8Array.from({ length: width * height * channels }, () => rng.int(256)) };
}

/** Straight from the definition: triangle filter of the sampled signal, in doubles, both axes at once. */
function reference(r: Raster, width: number, height: number): number[] {
  const weights = (from: number, to: number, x: number): number[] => {
    const support = Math.max(from / to, 1);
    const w = Array.from({ length: from }, (_, i) => Math.max(0, 1 - Math.abs(i + 0.5 - ((x + 0.5) * from) / to) / support));
    const sum = w.reduce((a, b) => a + b);
    return w.map((v) => v / sum);
  };
  const out: number[] = [];
  for (let y = 0; y < height; y++) {
    const wy = weights(r.height, height, y);
    for (let x = 0; x < width; x++) {
      const wx = weights(r.width, width, x);
      for (let c = 0; c < r.channels; c++) {
        let sum = 0;
        for (let j = 0; j < r.height; j++) for (let i = 0; i < r.width; i++) sum += wy[j] * wx[i] * r.data[(j * r.width + i) * r.channels + c];
        out.push(sum);
      }
    }
  }
  return out;
}

describe('fit', () => {
  it.each([
    [7, 5, 3, 4],
    [5, 7, 11, 9],
    [16, 16, 5, 20],
    [1, 1, 3, 2],
    [9, 1, 4, 1],
  ])('stretch %i×%i to %i×%i equals the filter to rounding', (w, h, width, height) => {
    for (const channels of [1, 3] as const) {
      const r = random(w, h, channels, w * h + channels);
      const out = fit(r, width, height, 'stretch', 'x');
      expect(out).toMatchObject({ width, height, channels });
      const want = reference(r, width, height);
      expect(out.data.length).toBe(want.length);
      out.data.forEach((v, i) => expect(Math.abs(v - want[i])).toBeLessThanOrEqual(1)); // each axis rounds once
    }
  });

  it('reduction by two, worked by hand', () => {
    // Weights (3, 3, 1)/7 and (1, 3, 3)/7: the filter's four taps, cut at the borders.
    const r: Raster = { width: 4, height: 1, channels: 1, data: Uint8Array.of(0, 100, 200, 50) };
    expect([...fit(r, 2, 1, 'stretch', 'x').data]).toEqual([Math.round((300 + 200) / 7), Math.round((100 + 600 + 150) / 7)]);
  });

  it('keeps flat images flat and white white', () => {
    const r: Raster = { width: 13, height: 9, channels: 3, data: new Uint8Array(13 * 9 * 3).fill(255) };
    for (const size of [1, 4, 9, 40]) expect(fit(r, size, size, 'stretch', 'x').data.every((v) => v === 255)).toBe(true);
  });

  it('does not touch an image of the right size', () => {
    const r = random(6, 4, 3, 1);
    expect(fit(r, 6, 4, 'stretch', 'x')).toBe(r);
    expect(fit(r, 6, 4, 'shorter', 'x')).toBe(r);
  });

  it('shorter: scales to cover, then takes the centre', () => {
    const wide = random(12, 4, 1, 5);
    expect(fit(wide, 4, 4, 'shorter', 'x').data).toEqual(Uint8Array.from({ length: 16 }, (_, i) => wide.data[Math.floor(i / 4) * 12 + 4 + (i % 4)]));
    const tall = random(4, 7, 1, 6); // spare 3, offset 1.5 → 2
    expect(fit(tall, 4, 4, 'shorter', 'x').data).toEqual(tall.data.slice(8, 24));
    const odd = random(4, 5, 1, 7); // spare 1, offset 0.5 → 0
    expect(fit(odd, 4, 4, 'shorter', 'x').data).toEqual(odd.data.slice(0, 16));
    const big = random(31, 17, 3, 8);
    const scaled = fit(big, 18, 10, 'stretch', 'x'); // ⌊31·10/17⌋ = 18
    const out = fit(big, 10, 10, 'shorter', 'x');
    expect(out.data.slice(0, 30)).toEqual(scaled.data.slice(4 * 3, 14 * 3));
  });

  it('refuses absurd aspect ratios instead of allocating', () => {
    const line: Raster = { width: 1, height: 1 << 20, channels: 3, data: new Uint8Array(3 << 20) };
    expect(() => fit(line, 224, 224, 'shorter', 'x')).toThrow(BitloomError);
    expect(() => fit(line, 224, 224, 'stretch', 'x')).toThrow(BitloomError);
  });
});
