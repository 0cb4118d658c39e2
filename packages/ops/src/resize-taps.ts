/**
 * Where each output index of a resize reads, along one axis: taps (input index, weight). Coordinates and coefficients as ONNX
 * Resize-19 defines them, computed in double; the input is extended by its edge values.
 */
export interface AxisResize {
  readonly mode: 'nearest' | 'linear' | 'cubic';
  readonly coordinates: 'half_pixel' | 'half_pixel_symmetric' | 'pytorch_half_pixel' | 'align_corners' | 'asymmetric' | 'tf_crop_and_resize';
  readonly nearest: 'round_prefer_floor' | 'round_prefer_ceil' | 'floor' | 'ceil';
  readonly cubicA: number;
  readonly excludeOutside: boolean;
  readonly antialias: boolean;
}

export interface Tap {
  readonly index: number;
  readonly weight: number;
}

/** Per output index its taps of nonzero weight, from left to right; null: outside the crop, where the extrapolation value goes. */
export type AxisTaps = readonly (readonly Tap[] | null)[];

/** Input coordinate of output index `x`. `size` is the input's, `scaled` = scale·size may differ from the output's `out` by rounding. */
function coordinate(r: AxisResize, x: number, size: number, out: number, scale: number, roi: readonly [number, number]): number {
  const scaled = scale * size;
  const halfPixel = (x + 0.5) / scale - 0.5;
  switch (r.coordinates) {
    case 'half_pixel':
      return halfPixel;
    case 'half_pixel_symmetric':
      return (size / 2) * (1 - out / scaled) + halfPixel;
    case 'pytorch_half_pixel':
      return scaled === 1 ? -0.5 : halfPixel;
    case 'align_corners':
      return scaled === 1 ? 0 : (x * (size - 1)) / (scaled - 1);
    case 'asymmetric':
      return x / scale;
    case 'tf_crop_and_resize': {
      const [start, end] = roi;
      const at = scaled === 1 ? ((end - start) * (size - 1)) / 2 : (x * (end - start) * (size - 1)) / (scaled - 1);
      return at + start * (size - 1);
    }
  }
}

/** Keys' cubic kernel with parameter a (Keys 1981, eq. 15 for a = −0.5); exactly 1 at 0 and 0 at other integers. */
function cubic(distance: number, a: number): number {
  const x = Math.abs(distance);
  if (Number.isInteger(x)) return x === 0 ? 1 : 0;
  if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  return x < 2 ? ((a * x - 5 * a) * x + 8 * a) * x - 4 * a : 0;
}

/** Weights of the taps base + 1 − n/2 … base + n/2 around a point at base + ratio, 0 ≤ ratio < 1. */
function coefficients(r: AxisResize, ratio: number, scale: number): number[] {
  if (r.mode === 'nearest') {
    const up = { floor: false, ceil: ratio > 0, round_prefer_floor: ratio > 0.5, round_prefer_ceil: ratio >= 0.5 }[r.nearest];
    return up ? [0, 1] : [1, 0];
  }
  const kernel = r.mode === 'linear' ? (d: number): number => Math.max(0, 1 - Math.abs(d)) : (d: number): number => cubic(d, r.cubicA);
  const reach = r.mode === 'linear' ? 1 : 2;
  // Shrinking with antialias stretches the kernel over the pixels that one output covers.
  const stretch = r.antialias ? Math.min(scale, 1) : 1;
  const half = r.antialias ? -Math.floor(-reach / stretch) : reach;
  const weights = Array.from({ length: 2 * half }, (_, i) => kernel(stretch * (i + 1 - half - ratio)));
  return r.antialias ? normalised(weights) : weights;
}

function normalised(weights: readonly number[]): number[] {
  const sum = weights.reduce((s, w) => s + w, 0);
  return weights.map((w) => w / sum);
}

/** Taps of all `out` output indices of an axis of input size `size`; `roi` are the normalised start and end of the crop. */
export function axisTaps(r: AxisResize, size: number, out: number, scale: number, roi: readonly [number, number]): AxisTaps {
  return Array.from({ length: out }, (_, x) => {
    const at = coordinate(r, x, size, out, scale, roi);
    if (r.coordinates === 'tf_crop_and_resize' && (at < 0 || at > size - 1)) return null;
    const base = Math.floor(at);
    const weights = coefficients(r, at - base, scale);
    const first = base + 1 - weights.length / 2;
    const outside = (i: number): boolean => first + i < 0 || first + i >= size;
    const kept = r.excludeOutside ? normalised(weights.map((w, i) => (outside(i) ? 0 : w))) : weights;
    const merged = new Map<number, number>();
    kept.forEach((w, i) => {
      const index = Math.min(Math.max(first + i, 0), size - 1);
      if (w !== 0) merged.set(index, (merged.get(index) ?? 0) + w);
    });
    return [...merged].map(([index, weight]) => ({ index, weight }));
  });
}
