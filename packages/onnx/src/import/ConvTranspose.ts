import type { OnnxImporter } from '../node.js';
import { windowOf } from './windows.js';

/** `output_shape` and SAME (output = input · stride) set the padding: total = stride·(in − 1) + output_padding + reach − out. */
export const ConvTranspose: OnnxImporter = (n) => {
  if (n.rank(0) < 3 || n.rank(1) !== n.rank(0)) n.mismatch(`ranks ${n.rank(0)} and ${n.rank(1)}`, 'equal ranks of at least 3');
  const spatial = n.shape(0).slice(2);
  const kernel = n.shape(1).slice(2);
  const rank = spatial.length;
  const { strides, dilations, pads } = windowOf(n, spatial, kernel);
  const outputPadding = n.attrs.ints('output_padding', null) ?? spatial.map(() => 0);
  const auto = n.attrs.string('auto_pad', 'NOTSET');
  const same = auto.startsWith('SAME');
  const target = n.attrs.ints('output_shape', null)?.slice(-rank) ?? (same ? spatial.map((d, i) => d * strides[i]) : null);
  if (target) {
    target.forEach((size, i) => {
      const total = strides[i] * (spatial[i] - 1) + outputPadding[i] + (kernel[i] - 1) * dilations[i] + 1 - size;
      if (total < 0) outputPadding[i] -= total;
      const half = Math.floor(Math.max(0, total) / 2);
      const rest = Math.max(0, total) - half;
      [pads[i], pads[rank + i]] = auto === 'SAME_UPPER' ? [half, rest] : [rest, half];
    });
  }
  return n.op('conv_transpose', n.optional(2) === null ? [n.x(0), n.x(1)] : n.all(), {
    strides, dilations, pads, group: n.attrs.int('group', 1), outputPadding,
  });
};
