/** Streaming histograms: bounded memory whatever the number of samples. */

/** Range seen, then counts of {@link BINS} equal bins over it. */
export interface Histogram {
  readonly min: number;
  readonly max: number;
  readonly counts: Float64Array;
}

export const BINS = 2048;

/** Smallest and largest finite element, widening `range`. */
export function extend(range: { min: number; max: number }, data: ArrayLike<number>): void {
  let { min, max } = range;
  for (let i = 0; i < data.length; i++) {
    const v = data[i];
    if (v < min && v !== -Infinity) min = v;
    if (v > max && v !== Infinity) max = v;
  }
  range.min = min;
  range.max = max;
}

/** Adds the elements to the counts of a histogram with a known range. NaN and infinities are left out. */
export function accumulate(h: Histogram, data: ArrayLike<number>): void {
  const k = h.max > h.min ? BINS / (h.max - h.min) : 0;
  for (let i = 0; i < data.length; i++) {
    const v = data[i];
    if (v >= h.min && v <= h.max) h.counts[Math.min(BINS - 1, Math.floor((v - h.min) * k))]++;
  }
}

/** Centre of bin i. */
export const binCenter = (h: Histogram, i: number): number => h.min + ((i + 0.5) * (h.max - h.min)) / BINS;

/** Histogram of the union of several (values that share parameters); a bin's elements count at its centre. */
export function mergeHistograms(parts: readonly Histogram[]): Histogram {
  if (parts.length === 1) return parts[0];
  const [min, max] = [Math.min(...parts.map((p) => p.min)), Math.max(...parts.map((p) => p.max))];
  const counts = new Float64Array(BINS);
  const k = max > min ? BINS / (max - min) : 0;
  for (const p of parts) p.counts.forEach((n, i) => (counts[Math.min(BINS - 1, Math.floor((binCenter(p, i) - min) * k))] += n));
  return { min, max, counts };
}
