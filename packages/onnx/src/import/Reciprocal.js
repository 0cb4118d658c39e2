import { compose } from '@bitloom/ops';
export const Reciprocal = (n) => compose.reciprocal(n.b, n.x(0));
//# sourceMappingURL=Reciprocal.js.map