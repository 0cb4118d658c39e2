import type { OnnxImporter } from '../node.js';

/** Blocks of pixels to channels: reshape, transpose, reshape. */
export const SpaceToDepth: OnnxImporter = (n) => {
  const [batch, c, h, w] = n.rank(0) === 4 ? n.shape(0) : n.unsupported(`rank ${n.rank(0)}`);
  const s = n.attrs.int('blocksize', 1);
  if (h % s !== 0 || w % s !== 0) n.mismatch(`${h}×${w}`, `multiples of ${s}`);
  const split = n.reshape(n.x(0), [batch, c, h / s, s, w / s, s]);
  return n.reshape(n.transpose(split, [0, 3, 5, 1, 2, 4]), [batch, c * s * s, h / s, w / s]);
};
