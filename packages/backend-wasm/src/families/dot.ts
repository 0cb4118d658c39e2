/** `int8` (pairs of i16 through i32x4.dot_i16x8_s) and `f32`: vectors of weights of four channels times splat activations. */
import { type ConvParams, convK } from '@bitloom/kernel-spec';
import { type Bits, weightAlpha, weightBeta } from '@bitloom/numerics';
import { type Family, type FamilyKernel, type WasmFunction, integerPacking, tileParams } from '../family.js';
import { range, rendered } from '../render.js';

type Kind = 'int8' | 'f32';

/** Bytes of weights of four channels, and of activations, that a step takes: two i16 or one f32 each. */
const VECTOR = 16;
const ELEMENT = 4;
/** Steps of an unrolled loop; what is left goes one by one. */
const UNROLL = 4;

/** P pixels × 4·V channels. Floats are added in the order of K, each product and sum rounded. */
function dotTile(kind: Kind, pixelCount: number, vectorCount: number): WasmFunction {
  const float = kind === 'f32';
  const [pixels, vectors] = [range(pixelCount), range(vectorCount)];
  const op = float ? { add: 'f32x4.add', multiply: 'f32x4.mul' } : { add: 'i32x4.add', multiply: 'i32x4.dot_i16x8_s' };
  const cellsOf = (p: number): object[] => vectors.map((v) => ({ ...op, name: `${p}_${v}`, vector: v, offset: VECTOR * v }));
  const stepBytes = VECTOR * vectorCount;
  const loop = (count: number, trips: string): object => ({
    count, trips, wStep: stepBytes * count, xStep: ELEMENT * count,
    unroll: range(count).map((i) => ({
      loads: vectors.map((v) => ({ vector: v, offset: stepBytes * i + VECTOR * v })),
      rows: pixels.map((p) => ({ pixel: p, offset: ELEMENT * i, align: float ? 4 : 2, cells: cellsOf(p) })),
    })),
  });
  return rendered('tile_dot', `tile_${kind}_${pixelCount}x${vectorCount}`, {
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

/** [step][channel][2] i16 of v = alpha·u − beta. */
function placeI16(bits: Bits, vectors: number): WasmFunction {
  return rendered('place', `place_i16_w${bits}_x${vectors}`, {
    note: 'pairs of i16',
    at: `(i32.add (local.get $dst) (i32.add (i32.mul (i32.shr_u (local.get $j) (i32.const 1)) (i32.const ${VECTOR * vectors}))
      (i32.add (i32.shl (local.get $lane) (i32.const 2)) (i32.shl (i32.and (local.get $j) (i32.const 1)) (i32.const 1)))))`,
    store: `(i32.store16 (local.get $at) (i32.sub (i32.shl (i32.load8_u (i32.add (local.get $codes) (local.get $j))) (i32.const ${weightAlpha(bits) - 1}))
      (i32.const ${weightBeta(bits)})))`,
  });
}

/** [step][channel] f32. */
const placeF32 = (vectors: number): WasmFunction => rendered('place', `place_f32_x${vectors}`, {
  note: 'f32',
  at: `(i32.add (local.get $dst) (i32.add (i32.mul (local.get $j) (i32.const ${VECTOR * vectors})) (i32.shl (local.get $lane) (i32.const 2))))`,
  store: '(f32.store (local.get $at) (f32.load (i32.add (local.get $codes) (i32.shl (local.get $j) (i32.const 2)))))',
});

function dotKernel(kind: Kind, p: ConvParams): FamilyKernel {
  const float = kind === 'f32';
  const vectors = 2;
  const pixels = [4, 3, 2, 1];
  return {
    symbol: float ? 'f32' : `int8_w${p.weightBits}`,
    channels: 4 * vectors,
    pixels,
    tiles: pixels.map((n) => dotTile(kind, n, vectors)),
    step: float ? 1 : 2,
    grain: 1,
    grainBytes: float ? 4 : 2,
    maxSteps: Infinity,
    blockBytes: (steps) => steps * VECTOR * vectors,
    convert: float ? null : convertI16,
    place: float ? placeF32(vectors) : placeI16(p.weightBits!, vectors),
    unsigned: false,
    offset: 0,
  };
}

const alignUp = (n: number, to: number): number => Math.ceil(n / to) * to;
/** Products of whole blocks of eight channels. */
const blockMacs = (p: ConvParams): number => p.batch * p.outH * p.outW * alignUp(p.outC / p.groups, 8) * p.groups * convK(p);
const outputs = (p: ConvParams): number => p.batch * p.outH * p.outW * p.outC;

export const dotFamilies: readonly Family[] = [
  {
    name: 'int8__simd128', kernel: 'int8', isa: 'simd128',
    accepts: (p) => p.kind === 'int',
    cost: (p) => blockMacs(p) / 40 + 0.3 * outputs(p),
    packing: integerPacking,
    specialise: (p) => dotKernel('int8', p),
  },
  {
    name: 'f32__simd128', kernel: 'f32', isa: 'simd128',
    accepts: (p) => p.kind === 'f32',
    cost: (p) => blockMacs(p) / 22 + 0.3 * outputs(p),
    packing: () => 'f32',
    specialise: (p) => dotKernel('f32', p),
  },
];
