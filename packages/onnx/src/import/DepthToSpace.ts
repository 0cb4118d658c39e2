import type { OnnxImporter } from '../node.js';

/** Channels to blocks of pixels: reshape, transpose, reshape. */
export const DepthToSpace: OnnxImporter = (n) => {
  const [batch, c, h, w] = n.rank(0) === 4 ? n.shape(0) : n.unsupported(`rank ${n.rank(0)}`);
  const s = n.attrs.int('blocksize', 1);
  const out = c / (s * s);
  if (!Number.isInteger(out)) n.mismatch(`${c} channels`, `a multiple of ${s * s}`);
  const crd = n.attrs.string('mode', 'DCR') === 'CRD';
  const split = n.reshape(n.x(0), crd ? [batch, out, s, s, h, w] : [batch, s, s, out, h, w]);
  return n.reshape(n.transpose(split, crd ? [0, 1, 4, 2, 5, 3] : [0, 3, 4, 1, 5, 2]), [batch, out, h * s, w * s]);
};
