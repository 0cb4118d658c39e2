import type { ValueId } from '@bitloom/ir';
import { compose } from '@bitloom/ops';
import type { OnnxNode } from '../node.js';

/** Scale or zero point, shaped to broadcast over `shape`: per tensor, per index of `axis`, or per block along it. */
export function spread(n: OnnxNode, p: ValueId, shape: readonly number[]): ValueId {
  const own = n.b.shapeOf(p);
  if (own.length === 0 || (own.length === 1 && own[0] === 1)) return n.reshape(p, []);
  const axis = n.axis(n.attrs.int('axis', 1), shape.length);
  if (own.length === 1 && n.attrs.int('block_size', 0) === 0) return n.reshape(p, shape.map((d, i) => (i === axis ? own[0] : 1)));
  const block = n.attrs.int('block_size', 0) || Math.ceil(shape[axis] / own[axis]);
  if (own.length !== shape.length) n.mismatch(`scale [${own.join(', ')}]`, `blocks of [${shape.join(', ')}]`);
  const split = n.reshape(p, [...own.slice(0, axis + 1), 1, ...own.slice(axis + 1)]);
  const wide = compose.broadcastTo(n.b, split, [...own.slice(0, axis + 1), block, ...own.slice(axis + 1)]);
  const merged = n.reshape(wide, own.map((d, i) => (i === axis ? d * block : d)));
  return compose.sliceAxis(n.b, merged, axis, 0, shape[axis]);
}
