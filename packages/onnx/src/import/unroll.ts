/** What operators with a body share: the body is imported once per step, so the number of steps must be known at import. */
import type { ValueId } from '@bitloom/ir';
import type { OnnxNode } from '../node.js';

/** More steps than this are refused rather than unrolled. */
export const MAX_STEPS = 512;

/** Values of each step, stacked along a new axis. */
export function stacked(n: OnnxNode, parts: readonly ValueId[], axis: number): ValueId {
  if (parts.length === 0) n.unsupported('no steps, so the shape of a collected output is unknown');
  const shape = n.b.shapeOf(parts[0]);
  const at = n.axis(axis, shape.length + 1);
  const wide = parts.map((p) => n.reshape(p, [...shape.slice(0, at), 1, ...shape.slice(at)]));
  return wide.length === 1 ? wide[0] : n.op('concat', wide, { axis: at });
}
