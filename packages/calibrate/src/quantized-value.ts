/** Fake quantisation by core ops, for graphs that measure what it does. */
import type { GraphBuilder, ValueId } from '@bitloom/ir';
import { type QuantParams, codeRange } from '@bitloom/numerics';
import { compose } from '@bitloom/ops';

/** Q(x) = s·clip(round(x/s), lo − z, hi − z), in x's shape. @param q one scale and zero point for the whole tensor */
export function quantizedValue(b: GraphBuilder, x: ValueId, q: QuantParams): ValueId {
  const { lo, hi } = codeRange(q.scheme);
  const [s, z] = [q.scale[0], q.zeroPoint[0]];
  const code = b.add('clip', [b.add('round', [compose.div(b, x, compose.scalarLike(b, x, s))])], { min: lo - z, max: hi - z });
  return compose.scale(b, code, s);
}
