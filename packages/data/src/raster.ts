import { fail } from '@bitloom/diagnostics';

/** 8-bit pixels, row by row, channels interleaved (gray, or red, green, blue). */
export interface Raster {
  readonly width: number;
  readonly height: number;
  readonly channels: 1 | 3;
  readonly data: Uint8Array;
}

/** Bound on any buffer made while resizing; only absurd aspect ratios meet it. */
const MAX_BYTES = 2 ** 28;
/** Fraction bits of the filter weights: 8-bit pixels times weights that sum to one stay below 2^31. */
const PRECISION = 22;

/**
 * Weights of the antialiased triangle filter for each output position, as Pillow's `resize` with `BILINEAR` has them:
 * the filter's support grows with the reduction, so that every input pixel counts.
 */
function triangleWeights(from: number, to: number): { first: Int32Array; weights: Int32Array[] } {
  const scale = from / to;
  const support = Math.max(scale, 1);
  const first = new Int32Array(to);
  const weights = Array.from({ length: to }, (_, x) => {
    const centre = (x + 0.5) * scale;
    first[x] = Math.max(0, Math.trunc(centre - support + 0.5));
    const last = Math.min(from, Math.trunc(centre + support + 0.5));
    const w = Array.from({ length: last - first[x] }, (_, i) => Math.max(0, 1 - Math.abs(i + first[x] - centre + 0.5) / support));
    const sum = w.reduce((a, b) => a + b, 0);
    return Int32Array.from(w, (v) => Math.floor((v / sum) * 2 ** PRECISION + 0.5));
  });
  return { first, weights };
}

/** Resamples one axis: `outer` runs of `from` positions of `inner` bytes each. */
function resampleAxis(data: Uint8Array, outer: number, from: number, to: number, inner: number): Uint8Array {
  const { first, weights } = triangleWeights(from, to);
  const out = new Uint8Array(outer * to * inner);
  for (let o = 0; o < outer; o++) {
    for (let x = 0; x < to; x++) {
      const w = weights[x];
      for (let i = 0; i < inner; i++) {
        let sum = 1 << (PRECISION - 1);
        let at = (o * from + first[x]) * inner + i;
        for (let k = 0; k < w.length; k++, at += inner) sum += w[k] * data[at];
        out[(o * to + x) * inner + i] = Math.min(255, sum >> PRECISION);
      }
    }
  }
  return out;
}

/** Bilinear, antialiased; rounded to 8 bits after each axis, width first, as Pillow does. An axis of the right size stays. */
function resize(r: Raster, width: number, height: number, name: string): Raster {
  if (Math.max(width * r.height, width * height) * r.channels > MAX_BYTES) {
    fail('E301', 'image is too elongated to resize', { node: name, found: `${r.width}×${r.height}`, expected: `${width}×${height}` });
  }
  let { data } = r;
  if (width !== r.width) data = resampleAxis(data, r.height, r.width, width, r.channels);
  if (height !== r.height) data = resampleAxis(data, 1, r.height, height, width * r.channels);
  return { width, height, channels: r.channels, data };
}

/** The centre, offsets rounded half to even as torchvision's `CenterCrop`. */
function cropCentre(r: Raster, width: number, height: number): Raster {
  const offset = (spare: number): number => (spare >> 1) + (spare & 1 & (spare >> 1));
  const left = offset(r.width - width);
  const top = offset(r.height - height);
  const data = new Uint8Array(width * height * r.channels);
  for (let y = 0; y < height; y++) {
    const at = ((top + y) * r.width + left) * r.channels;
    data.set(r.data.subarray(at, at + width * r.channels), y * width * r.channels);
  }
  return { width, height, channels: r.channels, data };
}

/**
 * The image at `width` × `height`; one that has this size is returned untouched.
 * @param mode `stretch` both axes, or `shorter`: scale to cover the target keeping the aspect, then crop the centre
 * @throws E301 when the aspect ratio would need an unreasonable buffer.
 */
export function fit(r: Raster, width: number, height: number, mode: 'stretch' | 'shorter', name: string): Raster {
  if (r.width === width && r.height === height) return r;
  if (mode === 'stretch') return resize(r, width, height, name);
  const byWidth = width * r.height >= height * r.width;
  const coverWidth = byWidth ? width : Math.floor((height * r.width) / r.height);
  const coverHeight = byWidth ? Math.floor((width * r.height) / r.width) : height;
  return cropCentre(resize(r, coverWidth, coverHeight, name), width, height);
}
