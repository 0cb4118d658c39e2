import type { ValueId } from '@bitloom/ir';
import type { OnnxNode } from '../node.js';

/** [batch, sequence, heads·size] → [batch, heads, sequence, size] */
export function splitHeads(n: OnnxNode, x: ValueId, heads: number): ValueId {
  const [batch, length, width] = n.b.shapeOf(x);
  return n.transpose(n.reshape(x, [batch, length, heads, width / heads]), [0, 2, 1, 3]);
}
