import type { OnnxImporter } from '../node.js';
import { floats } from './floats.js';
import { affine, axesFrom, standardize } from './standardize.js';

/** Over all axes from `axis` on; also gives μ and 1/√(σ² + ε). */
export const LayerNormalization: OnnxImporter = floats((n) => {
  const axes = axesFrom(n.axis(n.attrs.int('axis', -1), n.rank(0)), n.rank(0));
  const { y, mean, inverse } = standardize(n, n.x(0), axes, n.attrs.float('epsilon', 1e-5));
  return [affine(n, y, n.x(1), n.optional(2)), mean, inverse];
});
