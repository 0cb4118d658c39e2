/** How constant weights lie in a weights blob. One row per format; backends name a format, bundles record it. */
import { fail } from '@bitloom/diagnostics';
import { type Bits, packPlanes, planeRowBytes, unpackPlanes, weightCode, weightValue } from '@bitloom/numerics';
import type { TypedArray } from '@bitloom/tensor';

/** Shape of a weight matrix: `rows` output channels × `k` reduction elements, `bits` wide (null for f32). */
export interface WeightShape {
  readonly rows: number;
  readonly k: number;
  readonly bits: Bits | null;
}

export interface Packing {
  /** Bytes of a packed matrix. */
  bytes(s: WeightShape): number;
  pack(values: TypedArray, s: WeightShape): Uint8Array;
  /** Inverse of `pack`: exact values back. */
  unpack(bytes: Uint8Array, s: WeightShape): TypedArray;
}

const requireBits = (s: WeightShape): Bits => s.bits ?? fail('E901', 'packing of float weights as integers');

/** f32 panels of `lanes` output channels: [ceil(rows/lanes)][k][lanes], missing rows zero. */
function panels(lanes: number): Packing {
  const bytes = (s: WeightShape): number => Math.ceil(s.rows / lanes) * s.k * lanes * 4;
  const at = (s: WeightShape, r: number, j: number): number => (Math.floor(r / lanes) * s.k + j) * lanes + (r % lanes);
  return {
    bytes,
    pack(values, s) {
      const out = new Float32Array(bytes(s) / 4);
      for (let r = 0; r < s.rows; r++) for (let j = 0; j < s.k; j++) out[at(s, r, j)] = Number(values[r * s.k + j]);
      return new Uint8Array(out.buffer);
    },
    unpack(bytes, s) {
      const f = new Float32Array(bytes.slice().buffer);
      return Float32Array.from({ length: s.rows * s.k }, (_, i) => f[at(s, Math.floor(i / s.k), i % s.k)]);
    },
  };
}

export const PACKINGS = {
  /** Bit planes of the unsigned codes, [row][bit][ceil(k/8)]: exactly `bits` bits a weight. */
  planes: {
    bytes: (s) => s.rows * requireBits(s) * planeRowBytes(s.k),
    pack(values, s) {
      const bits = requireBits(s);
      const codes = new Uint8Array(values.length);
      for (let i = 0; i < codes.length; i++) codes[i] = weightCode((values as Int8Array)[i], bits);
      return packPlanes(codes, s.rows, s.k, bits);
    },
    unpack: (bytes, s) => Int8Array.from(unpackPlanes(bytes, s.rows, s.k, requireBits(s)), (u) => weightValue(u, requireBits(s))),
  },
  /** One i8 a weight, row-major. */
  bytes: {
    bytes: (s) => s.rows * s.k,
    pack: (values) => new Uint8Array(Int8Array.from(values as Int8Array).buffer),
    unpack: (bytes) => new Int8Array(bytes.slice().buffer),
  },
  /** f32 row-major. */
  f32: {
    bytes: (s) => s.rows * s.k * 4,
    pack: (values) => new Uint8Array(Float32Array.from(values as Float32Array).buffer),
    unpack: (bytes) => new Float32Array(bytes.slice().buffer),
  },
  /** f32, four output channels side by side. */
  panel4: panels(4),
} as const satisfies Record<string, Packing>;

export type PackingName = keyof typeof PACKINGS;

const packed = new WeakMap<TypedArray, Map<string, Uint8Array>>();

/** A matrix packed, once for all plans: treat as immutable. */
export function packOnce(values: TypedArray, packing: PackingName, s: WeightShape): Uint8Array {
  let known = packed.get(values);
  if (!known) packed.set(values, (known = new Map()));
  const key = [packing, s.rows, s.k, s.bits].join();
  const bytes = known.get(key) ?? PACKINGS[packing].pack(values, s);
  known.set(key, bytes);
  return bytes;
}
