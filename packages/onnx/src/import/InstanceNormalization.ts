import type { OnnxImporter } from '../node.js';
import { floats } from './floats.js';
import { affine, axesFrom, perChannel, standardize } from './standardize.js';

/** scale·(x − μ)/√(σ² + ε) + bias over each channel's image. */
export const InstanceNormalization: OnnxImporter = floats((n) => {
  const rank = n.rank(0);
  const { y } = standardize(n, n.x(0), axesFrom(2, rank), n.attrs.float('epsilon', 1e-5));
  return affine(n, y, perChannel(n, n.x(1), rank), perChannel(n, n.x(2), rank));
});
