import { broadcastShape, compose } from '@bitloom/ops';
import type { OnnxImporter } from '../node.js';

export const Expand: OnnxImporter = (n) => compose.broadcastTo(n.b, n.x(0), broadcastShape(n.shape(0), n.list(1, 'shape')) ?? n.mismatch(`[${n.shape(0).join(', ')}]`, 'a shape that broadcasts'));
