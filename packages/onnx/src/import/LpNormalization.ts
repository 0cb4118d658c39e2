import { compose } from '@bitloom/ops';
import type { OnnxImporter } from '../node.js';
import { floats } from './floats.js';

const { div, square, reduceSum } = compose;

/** x/‖x‖_p along one axis, 0 where the norm is 0. */
export const LpNormalization: OnnxImporter = floats((n) => {
  const { b } = n;
  const axes = [n.axis(n.attrs.int('axis', -1), n.rank(0))];
  const norm = n.attrs.int('p', 2) === 1 ? reduceSum(b, n.op('abs', [n.x(0)]), axes, true) : n.op('sqrt', [reduceSum(b, square(b, n.x(0)), axes, true)]);
  const zero = n.op('equal', [norm, n.like(norm, 0)]);
  return div(b, n.x(0), n.op('select', [zero, n.like(norm, 1), norm]));
});
