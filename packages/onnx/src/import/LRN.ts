import { compose } from '@bitloom/ops';
import type { OnnxImporter } from '../node.js';
import { floats } from './floats.js';

const { div, shift, square } = compose;

/** x/(bias + alpha·mean(x² over `size` neighbouring channels, zeros beyond the ends))^beta */
export const LRN: OnnxImporter = floats((n) => {
  const { b } = n;
  const shape = n.shape(0);
  const size = n.attrs.int('size', 1);
  const image = shape.slice(2).reduce((p, d) => p * d, 1);
  const before = Math.floor((size - 1) / 2);
  const plane = n.reshape(square(b, n.x(0)), [shape[0], 1, shape[1], image]);
  const mean = n.op('avg_pool', [plane], {
    kernel: [size, 1], strides: [1, 1], pads: [before, 0, size - 1 - before, 0], dilations: [1, 1], ceilExtra: [0, 0], countIncludePad: true,
  });
  const base = shift(b, compose.scale(b, n.reshape(mean, shape), n.attrs.float('alpha', 1e-4)), n.attrs.float('bias', 1));
  return div(b, n.x(0), n.op('pow', [base, n.like(base, n.attrs.float('beta', 0.75))]));
});
