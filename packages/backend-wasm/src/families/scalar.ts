/** Families without vectors: `int8` and `f32`, 4 channels at a time, and `bitserial` over words of 64 elements. */
import { type ConvParams, convK, convMacs } from '@bitloom/kernel-spec';
import { type Bits, weightAlpha, weightBeta } from '@bitloom/numerics';
import { type Family, type FamilyKernel, type WasmFunction, integerPacking, tileParams } from '../family.js';
import { range, rendered } from '../render.js';

const CHANNELS = 4;
/** Elements of an i64 of a bit plane. */
const WORD = 64;

function elementKernel(p: ConvParams): FamilyKernel {
  const float = p.kind === 'f32';
  const [weightBytes, activationBytes] = float ? [4, 4] : [1, 1];
  const tile = rendered('tile_scalar', float ? 'tile_f32__scalar' : 'tile_int8__scalar', {
    tileParams, float, type: float ? 'f32' : 'i32', channels: range(CHANNELS),
    loadX: float ? 'f32.load' : 'i32.load8_u', loadW: float ? 'f32.load' : 'i32.load8_s',
    cells: range(CHANNELS).map((channel) => ({ channel, offset: weightBytes * channel, accOffset: 4 * channel })),
    wStep: CHANNELS * weightBytes, xStep: activationBytes,
  });
  const at = (shift: number): string =>
    `(i32.add (local.get $dst) (i32.shl (i32.add (i32.mul (local.get $j) (i32.const ${CHANNELS})) (local.get $lane)) (i32.const ${shift})))`;
  const value = (bits: Bits): string =>
    `(i32.sub (i32.shl (i32.load8_u (i32.add (local.get $codes) (local.get $j))) (i32.const ${weightAlpha(bits) - 1})) (i32.const ${weightBeta(bits)}))`;
  return {
    symbol: float ? 'f32' : `int8_w${p.weightBits}`,
    channels: CHANNELS,
    pixels: [1],
    tiles: [tile],
    step: 1,
    grain: 1,
    grainBytes: activationBytes,
    maxSteps: Infinity,
    blockBytes: (steps) => steps * CHANNELS * weightBytes,
    convert: null,
    place: float
      ? rendered('place', 'place_f32__scalar', {
        note: 'f32', at: at(2),
        store: '(f32.store (local.get $at) (f32.load (i32.add (local.get $codes) (i32.shl (local.get $j) (i32.const 2)))))',
      })
      : rendered('place', `place_i8_w${p.weightBits}__scalar`, { note: 'i8', at: at(0), store: `(i32.store8 (local.get $at) ${value(p.weightBits!)})` }),
    unsigned: false,
    offset: 0,
  };
}

function bitserialKernel(p: ConvParams): FamilyKernel {
  const [w, a] = [p.weightBits!, p.activationBits!];
  const planes = (n: number): object[] => range(n).map((index) => ({ index, offset: 8 * index }));
  const convert: WasmFunction = rendered('planes_scalar', `planes_a${a}__scalar`, { bits: a, planes: planes(a), step: 8 * a });
  const tile = rendered('bits_scalar', `tile_w${w}a${a}__scalar`, {
    tileParams, weightBits: w, activationBits: a, weightPlanes: planes(w), activationPlanes: planes(a),
    wRow: 8 * w, wStep: CHANNELS * 8 * w, xStep: 8 * a,
  });
  // Byte of element j of the lane's first plane, a bit of each plane after another.
  const bit = '(i32.and (local.get $j) (i32.const 7))';
  const put = (i: number): string =>
    `(i32.store8 offset=${8 * i} (local.get $at) (i32.or (i32.load8_u offset=${8 * i} (local.get $at))
      (i32.shl (i32.and (i32.shr_u (i32.load8_u (i32.add (local.get $codes) (local.get $j))) (i32.const ${i})) (i32.const 1)) ${bit})))`;
  return {
    symbol: `bitserial_w${w}a${a}`,
    channels: CHANNELS,
    pixels: [1],
    tiles: [tile],
    step: WORD,
    grain: WORD,
    grainBytes: 8 * a,
    maxSteps: Infinity,
    blockBytes: (steps) => steps * CHANNELS * 8 * w,
    convert,
    place: rendered('place', `place_planes_w${w}__scalar`, {
      note: `words of ${w} bit planes`,
      at: `(i32.add (i32.add (local.get $dst) (i32.mul (i32.add (i32.mul (i32.shr_u (local.get $j) (i32.const 6)) (i32.const ${CHANNELS})) (local.get $lane))
      (i32.const ${8 * w}))) (i32.and (i32.shr_u (local.get $j) (i32.const 3)) (i32.const 7)))`,
      store: range(w).map(put).join('\n    '),
    }),
    unsigned: true,
    offset: 0,
  };
}

const outputs = (p: ConvParams): number => p.batch * p.outH * p.outW * p.outC;

/** The first two accept everything of their kind, so that the choice never fails. */
export const scalarFamilies: readonly Family[] = [
  {
    name: 'int8__scalar', kernel: 'int8', isa: 'scalar',
    accepts: (p) => p.kind === 'int',
    cost: (p) => convMacs(p) / 1.5 + 3 * outputs(p),
    packing: integerPacking,
    specialise: elementKernel,
  },
  {
    name: 'f32__scalar', kernel: 'f32', isa: 'scalar',
    accepts: (p) => p.kind === 'f32',
    cost: (p) => convMacs(p) / 1.5 + 3 * outputs(p),
    packing: () => 'f32',
    specialise: elementKernel,
  },
  {
    name: 'bitserial__scalar', kernel: 'bitserial', isa: 'scalar',
    accepts: (p) => p.kind === 'int',
    // 110 one-bit products a ns.
    cost: (p) => outputs(p) * (3 + (Math.ceil(convK(p) / WORD) * WORD * p.weightBits! * p.activationBits!) / 110),
    packing: integerPacking,
    specialise: bitserialKernel,
  },
];
