import { broadcastShape, compose } from '@bitloom/ops';
import type { OnnxImporter } from '../node.js';

/** Both shapes broadcast to a common one, so the target may also be smaller. */
export const Expand: OnnxImporter = (n) => {
  const shape = broadcastShape(n.shape(0), n.list(1, 'shape'));
  return compose.broadcastTo(n.b, n.x(0), shape ?? n.mismatch(`[${n.shape(0).join(', ')}]`, 'a shape that broadcasts'));
};
