/** Means and spreads over seeds. */
export interface Estimate {
  readonly mean: number;
  /** Sample standard deviation; null for a single value. */
  readonly spread: number | null;
}

/** Null without values. */
export function estimate(values: readonly number[]): Estimate | null {
  const n = values.length;
  if (n === 0) return null;
  // Relative to the first value, so that equal values have a spread of exactly 0.
  const [origin] = values;
  const mean = origin + values.reduce((s, v) => s + (v - origin), 0) / n;
  return { mean, spread: n < 2 ? null : Math.sqrt(values.reduce((s, v) => s + (v - mean) ** 2, 0) / (n - 1)) };
}
