/** Largest value of each window of x (N, C, spatial…). Padding is ignored, and so is NaN beside numbers. */
import { DTYPES, type DType, isFloat } from '@bitloom/tensor';
import { type Expr, e, scalarOf } from '@bitloom/kernel-spec';
import type { ValueId } from '@bitloom/ir';
import { z } from 'zod';
import { add, gated, padWith, sliceAxis, zeroInterleave } from './compose.js';
import { byNest, defineOp } from './def.js';
import { rowsOfChannels } from './lowering.js';
import { asCodes, sameParams } from './movement.js';
import { inferPool, poolNest, poolShape, poolWindow } from './pool.js';
import { expectClass } from './shapes.js';

const attrs = z.strictObject(poolShape);
export type MaxPoolAttrs = z.infer<typeof attrs>;

/** Smallest value of a storage type. */
function lowest(dtype: DType): Expr {
  const { kind, bytes } = DTYPES[dtype];
  return e.constant(scalarOf(dtype), kind === 'float' ? -Infinity : kind === 'int' ? -(2n ** BigInt(8 * bytes - 1)) : 0);
}

export const maxPool = defineOp<MaxPoolAttrs>({
  name: 'max_pool',
  summary: 'largest value of each window; padding is ignored',
  attrs,
  infer(ins, a, origin) {
    const types = inferPool(ins, a, 'max_pool', origin);
    expectClass(ins[0], 'numeric', 'max_pool', origin);
    return types;
  },
  /** dy goes to the first tap, in increasing order, that equals the maximum. */
  gradient(b, { inputs: [x], outputs: [y], attrs: a, cotangents: [dy] }) {
    const { pads } = poolWindow(a);
    const [, , ...out] = b.shapeOf(y);
    const size = b.shapeOf(x).slice(2);
    const n = size.length;
    const padded = padWith(b, x, [0, 0, ...pads.slice(0, n)], [0, 0, ...pads.slice(n)], -Infinity);
    const span = b.shapeOf(padded).slice(2);
    let taken: ValueId | null = null;
    let dx: ValueId | null = null;
    const taps = a.kernel.reduce<number[][]>((all, k) => all.flatMap((t) => Array.from({ length: k }, (_, i) => [...t, i])), [[]]);
    for (const tap of taps) {
      const start = tap.map((k, i) => k * a.dilations[i]);
      const equal = b.add('equal', [out.reduce((v, d, i) => sliceAxis(b, v, i + 2, start[i], d, a.strides[i]), padded), y]);
      const mask: ValueId = taken === null ? equal : b.add('and', [equal, b.add('not', [taken])]);
      taken = taken === null ? equal : b.add('or', [taken, equal]);
      const spread = out.reduce((v, _, i) => zeroInterleave(b, v, i + 2, a.strides[i]), gated(b, mask, dy!));
      const ends = span.map((d, i) => d - start[i] - ((out[i] - 1) * a.strides[i] + 1));
      const placed = padWith(b, spread, [0, 0, ...start], [0, 0, ...ends]);
      dx = dx === null ? placed : add(b, dx, placed);
    }
    return [size.reduce((v, d, i) => sliceAxis(b, v, i + 2, pads[i], d), dx!)];
  },
  ...byNest<MaxPoolAttrs>((b, [x], [out], a) => {
    // Codes of equal parameters are ordered as the values they stand for.
    const [from, y] = asCodes(x, out);
    const float = from.quant !== null || isFloat(from.dtype);
    poolNest(b, from, y, a, from.quant ? e.f32(-Infinity) : lowest(from.dtype), float ? e.pmax : e.max, null);
  }),
  channelsLast: true,
  accumulates: ({ inputs: [x], outputs: [y] }) => rowsOfChannels(y) && !sameParams(x.quant, y.quant),
});
