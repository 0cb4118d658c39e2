/** A tensor with some of its elements or slices replaced or updated; what `scatter_elements` and `scatter_nd` share. */
import type { GraphBuilder, ValueId } from '@bitloom/ir';
import { e, type Expr, type View } from '@bitloom/kernel-spec';
import type { DType } from '@bitloom/tensor';
import { z } from 'zod';
import { castTo, div, masked, mul, zerosLike } from './compose.js';
import { maximum, minimum } from './integer.js';
import { asCodes } from './movement.js';

export const reduction = z.enum(['none', 'add', 'mul', 'max', 'min']);
export type Reduction = z.infer<typeof reduction>;

/** New value of an element from its old one and an update. */
export function combine(r: Reduction, t: DType, old: Expr, update: Expr): Expr {
  switch (r) {
    case 'none':
      return update;
    case 'add':
      return e.add(old, update);
    case 'mul':
      return e.mul(old, update);
    case 'max':
      return maximum(t, old, update);
    case 'min':
      return minimum(t, old, update);
  }
}

/** Source and destination of updates: codes move as they are only where they replace. */
export const updatePair = (r: Reduction, update: View, out: View): [View, View] => (r === 'none' ? asCodes(update, out) : [update, out]);

/**
 * Cotangents of x and the updates. `scatter` and `gather` are the op itself and reading at the same places. Extrema are shared
 * evenly by all that attain them; for products, updates must not be 0; places written twice by 'none' are undefined.
 */
export function scatterGradient(
  b: GraphBuilder, r: Reduction, [x, u, y, dy]: readonly [ValueId, ValueId, ValueId, ValueId],
  scatter: (x: ValueId, u: ValueId, r: Reduction) => ValueId, gather: (x: ValueId) => ValueId,
): [ValueId, ValueId] {
  switch (r) {
    case 'none':
      return [scatter(dy, zerosLike(b, u), 'none'), gather(dy)];
    case 'add':
      return [dy, gather(dy)];
    case 'mul':
      return [scatter(dy, u, 'mul'), div(b, gather(mul(b, dy, y)), u)];
    case 'max':
    case 'min': {
      const { dtype } = b.typeOf(x);
      const fromX = b.add('equal', [x, y]);
      const fromU = b.add('equal', [u, gather(y)]);
      const count = scatter(castTo(b, fromX, dtype), castTo(b, fromU, dtype), 'add');
      const share = div(b, dy, count);
      return [masked(b, fromX, share), masked(b, fromU, gather(share))];
    }
  }
}
