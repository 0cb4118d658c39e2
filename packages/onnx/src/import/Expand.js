import { broadcastShape, compose } from '@bitloom/ops';
export const Expand = (n) => compose.broadcastTo(n.b, n.x(0), broadcastShape(n.shape(0), n.list(1, 'shape')) ?? n.mismatch(`[${n.shape(0).join(', ')}]`, 'a shape that broadcasts'));
//# sourceMappingURL=Expand.js.map