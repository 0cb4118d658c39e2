/**
 * `int8` (pairs of i16 through i32x4.dot_i16x8_s) and `f32`: vectors of weights of four channels times splat activations. Integer
 * weights are kept as i16, or as bytes that are widened when loaded: half the memory, for layers of few pixels whose weights must
 * come from afar.
 */
import { type ConvParams, convK } from '@bitloom/kernel-spec';
import { type Bits, weightAlpha, weightBeta } from '@bitloom/numerics';
import { type Family, type FamilyKernel, type WasmFunction, integerPacking, tileParams } from '../family.js';
import { range, rendered } from '../render.js';

/** How weights are kept. */
type Weights = 'i16' | 'i8' | 'f32';

/** Bytes of weights of four channels that a step takes: two i16, two i8 or one f32 each. */
const VECTOR: Readonly<Record<Weights, number>> = { i16: 16, i8: 8, f32: 16 };
const LOAD: Readonly<Record<Weights, string>> = { i16: 'v128.load', i8: 'v128.load8x8_s', f32: 'v128.load' };
/** Bytes of activations that a step takes: two i16 or one f32. */
const ELEMENT = 4;
/** Steps of an unrolled loop; what is left goes one by one. */
const UNROLL = 4;

/** P pixels × 4·V channels. Floats are added in the order of K, each product and sum rounded. */
export function dotTile(weights: Weights, pixelCount: number, vectorCount: number): WasmFunction {
  const float = weights === 'f32';
  const [pixels, vectors] = [range(pixelCount), range(vectorCount)];
  const op = float ? { add: 'f32x4.add', multiply: 'f32x4.mul' } : { add: 'i32x4.add', multiply: 'i32x4.dot_i16x8_s' };
  const cellsOf = (p: number): object[] => vectors.map((v) => ({ ...op, name: `${p}_${v}`, vector: v, offset: 16 * v }));
  const stepBytes = VECTOR[weights] * vectorCount;
  const loop = (count: number, trips: string): object => ({
    count, trips, wStep: stepBytes * count, xStep: ELEMENT * count,
    unroll: range(count).map((i) => ({
      loads: vectors.map((v) => ({ vector: v, load: LOAD[weights], offset: stepBytes * i + VECTOR[weights] * v })),
      rows: pixels.map((p) => ({ pixel: p, offset: ELEMENT * i, align: float ? 4 : 2, cells: cellsOf(p) })),
    })),
  });
  return rendered('tile_dot', `tile_${weights}_${pixelCount}x${vectorCount}`, {
    tileParams, float, pixelCount, pixels, vectors, stepBytes,
    channels: 4 * vectorCount,
    cells: pixels.flatMap(cellsOf),
    next: pixels.slice(1).map((p) => ({ pixel: p, before: p - 1 })),
    loops: [
      loop(UNROLL, `(i32.div_u (local.get $steps) (i32.const ${UNROLL}))`),
      loop(1, `(i32.rem_u (local.get $steps) (i32.const ${UNROLL}))`),
    ],
    stores: pixels.map((p) => ({ cells: cellsOf(p) })),
  });
}

const convertI16 = rendered('convert_i16', 'convert_i16', {});

/** [step][channel][2] integers v = alpha·u − beta. */
function placePairs(weights: 'i16' | 'i8', bits: Bits, vectors: number): WasmFunction {
  const shift = weights === 'i16' ? 1 : 0;
  return rendered('place', `place_${weights}_w${bits}_x${vectors}`, {
    note: `pairs of ${weights}`,
    at: `(i32.add (local.get $dst) (i32.add (i32.mul (i32.shr_u (local.get $j) (i32.const 1)) (i32.const ${VECTOR[weights] * vectors}))
      (i32.shl (i32.add (i32.shl (local.get $lane) (i32.const 1)) (i32.and (local.get $j) (i32.const 1))) (i32.const ${shift}))))`,
    store: `(i32.store${8 << shift} (local.get $at) (i32.sub (i32.shl (i32.load8_u (i32.add (local.get $codes) (local.get $j)))
      (i32.const ${weightAlpha(bits) - 1})) (i32.const ${weightBeta(bits)})))`,
  });
}

/** [step][channel] f32. */
const placeF32 = (vectors: number): WasmFunction => rendered('place', `place_f32_x${vectors}`, {
  note: 'f32',
  at: `(i32.add (local.get $dst) (i32.add (i32.mul (local.get $j) (i32.const ${VECTOR.f32 * vectors})) (i32.shl (local.get $lane) (i32.const 2))))`,
  store: '(f32.store (local.get $at) (f32.load (i32.add (local.get $codes) (i32.shl (local.get $j) (i32.const 2)))))',
});

const pixelsOf = (p: ConvParams): number => p.batch * p.outH * p.outW;

/** So few pixels that time goes into fetching weights. */
const isThin = (p: ConvParams): boolean => pixelsOf(p) < 4;

/**
 * Vectors and pixels of tiles. Eight accumulators are enough to hide the latency of additions, and leave registers; single pixels
 * need as many vectors.
 */
function tilesOf(p: ConvParams): { readonly vectors: number; readonly pixels: readonly number[] } {
  const used = p.outC / p.groups / 4;
  if (pixelsOf(p) === 1 && used > 4) return { vectors: 8, pixels: [1] };
  return isThin(p) && used > 2 ? { vectors: 4, pixels: [2, 1] } : { vectors: 2, pixels: [4, 3, 2, 1] };
}

function dotKernel(weights: Weights, p: ConvParams): FamilyKernel {
  const { vectors, pixels } = tilesOf(p);
  return {
    symbol: `${weights === 'f32' ? weights : `int8_${weights}w${p.weightBits}`}_x${vectors}`,
    channels: 4 * vectors,
    pixels,
    tiles: pixels.map((n) => dotTile(weights, n, vectors)),
    step: weights === 'f32' ? 1 : 2,
    grain: 1,
    grainBytes: weights === 'f32' ? 4 : 2,
    maxSteps: Infinity,
    blockBytes: (steps) => steps * VECTOR[weights] * vectors,
    convert: weights === 'f32' ? null : convertI16,
    place: weights === 'f32' ? placeF32(vectors) : placePairs(weights, p.weightBits!, vectors),
    unsigned: false,
    offset: 0,
  };
}

const alignUp = (n: number, to: number): number => Math.ceil(n / to) * to;
const outputs = (p: ConvParams): number => pixelsOf(p) * p.outC;
/** Second-level cache that weights may take before they come from farther away, and bytes a ns that then come. */
const NEAR_BYTES = 1 << 20;
const FAR_RATE = 10;

/** Products of whole blocks of channels, and weights of `bytes` each from afar for each block of pixels. */
function cost(p: ConvParams, rate: number, bytes: number): number {
  const weights = alignUp(p.outC / p.groups, 4 * tilesOf(p).vectors) * p.groups * convK(p);
  const far = weights * bytes > NEAR_BYTES ? (weights * bytes * Math.ceil(pixelsOf(p) / 64)) / FAR_RATE : 0;
  return (weights * pixelsOf(p)) / rate + 0.3 * outputs(p) + far;
}

export const dotFamilies: readonly Family[] = [
  {
    name: 'int8__simd128', kernel: 'int8', isa: 'simd128',
    accepts: (p) => p.kind === 'int',
    cost: (p) => cost(p, 40, 2),
    packing: integerPacking,
    specialise: (p) => dotKernel('i16', p),
  },
  {
    name: 'int8_bytes__simd128', kernel: 'int8', isa: 'simd128',
    accepts: (p) => p.kind === 'int' && isThin(p),
    cost: (p) => cost(p, 27, 1),
    packing: integerPacking,
    specialise: (p) => dotKernel('i8', p),
  },
  {
    name: 'f32__simd128', kernel: 'f32', isa: 'simd128',
    accepts: (p) => p.kind === 'f32',
    cost: (p) => cost(p, 20, 4),
    packing: () => 'f32',
    specialise: (p) => dotKernel('f32', p),
  },
];
