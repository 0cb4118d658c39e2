import type { OnnxImporter } from '../node.js';
import { floats } from './floats.js';
import { affine, axesFrom, perChannel, standardize } from './standardize.js';

/** Over the channels of a group and their images; scale and bias are per group before opset 21, per channel from then on. */
export const GroupNormalization: OnnxImporter = floats((n) => {
  const shape = n.shape(0);
  const groups = n.attrs.int('num_groups', 1);
  const [batch, channels] = shape;
  if (!(channels % groups === 0)) n.mismatch(`${channels} channels`, `a multiple of ${groups}`);
  const split = n.reshape(n.x(0), [batch, groups, channels / groups, ...shape.slice(2)]);
  const { y } = standardize(n, split, axesFrom(2, shape.length + 1), n.attrs.float('epsilon', 1e-5));
  if (n.shape(1)[0] === groups && n.opset < 21) {
    return n.reshape(affine(n, y, perChannel(n, n.x(1), shape.length + 1), perChannel(n, n.x(2), shape.length + 1)), shape);
  }
  return affine(n, n.reshape(y, shape), perChannel(n, n.x(1), shape.length), perChannel(n, n.x(2), shape.length));
});
