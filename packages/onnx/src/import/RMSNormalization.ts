import { compose } from '@bitloom/ops';
import type { OnnxImporter } from '../node.js';
import { floats } from './floats.js';
import { axesFrom } from './standardize.js';

const { mul, shift, square, reciprocal, reduceMean } = compose;

/** scale·x/√(mean(x²) + ε) over all axes from `axis` on. */
export const RMSNormalization: OnnxImporter = floats((n) => {
  const axes = axesFrom(n.axis(n.attrs.int('axis', -1), n.rank(0)), n.rank(0));
  const power = reduceMean(n.b, square(n.b, n.x(0)), axes, true);
  return mul(n.b, mul(n.b, n.x(0), reciprocal(n.b, n.op('sqrt', [shift(n.b, power, n.attrs.float('epsilon', 1e-5))]))), n.x(1));
});
