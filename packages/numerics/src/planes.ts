import type { Bits } from './quant.js';

/**
 * Unsigned code of a signed weight value: v + 2^(bits−1), or (v + 1)/2 for one bit, so that
 * v = {@link weightAlpha}·u − {@link weightBeta}. Source: EBS binary decomposition (arXiv 2003.07577), affine form.
 */
export const weightCode = (v: number, bits: Bits): number => (bits === 1 ? (v + 1) >> 1 : v + (1 << (bits - 1)));
export const weightValue = (u: number, bits: Bits): number => weightAlpha(bits) * u - weightBeta(bits);
export const weightAlpha = (bits: Bits): number => (bits === 1 ? 2 : 1);
export const weightBeta = (bits: Bits): number => (bits === 1 ? 1 : 1 << (bits - 1));

/** Bytes of one row of `k` one-bit elements. */
export const planeRowBytes = (k: number): number => Math.ceil(k / 8);

/**
 * Bit planes of `rows` × `k` unsigned codes: [row][bit, least significant first][ceil(k/8) bytes], element j in bit j%8 of
 * byte j>>3; unused bits are zero. Exactly `bits` bits per code but for the last byte of each plane.
 */
export function packPlanes(codes: ArrayLike<number>, rows: number, k: number, bits: Bits): Uint8Array {
  const rb = planeRowBytes(k);
  const out = new Uint8Array(rows * bits * rb);
  const byte = new Uint8Array(8);
  for (let r = 0; r < rows; r++) {
    for (let j = 0; j < k; j += 8) {
      const n = Math.min(8, k - j);
      for (let i = 0; i < n; i++) byte[i] = codes[r * k + j + i];
      for (let b = 0; b < bits; b++) {
        let v = 0;
        for (let i = 0; i < n; i++) v |= ((byte[i] >> b) & 1) << i;
        out[(r * bits + b) * rb + (j >> 3)] = v;
      }
    }
  }
  return out;
}

/** Inverse of {@link packPlanes}. */
export function unpackPlanes(bytes: Uint8Array, rows: number, k: number, bits: Bits): Uint8Array {
  const rb = planeRowBytes(k);
  const out = new Uint8Array(rows * k);
  for (let r = 0; r < rows; r++) {
    for (let j = 0; j < k; j++) {
      let u = 0;
      for (let b = 0; b < bits; b++) u |= ((bytes[(r * bits + b) * rb + (j >> 3)] >> (j & 7)) & 1) << b;
      out[r * k + j] = u;
    }
  }
  return out;
}
