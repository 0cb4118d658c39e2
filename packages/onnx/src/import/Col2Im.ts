import type { OnnxImporter } from '../node.js';

/** Sums columns back into an image: a transposed convolution, grouped by channel, whose weights are one at one kernel place each. */
export const Col2Im: OnnxImporter = (n) => {
  const image = n.list(1, 'image_shape');
  const kernel = n.list(2, 'block_shape');
  const rank = image.length;
  const strides = n.attrs.ints('strides', null) ?? image.map(() => 1);
  const dilations = n.attrs.ints('dilations', null) ?? image.map(() => 1);
  const pads = n.attrs.ints('pads', null) ?? new Array<number>(2 * rank).fill(0);
  const reach = image.map((d, i) => d + pads[i] + pads[rank + i] - (kernel[i] - 1) * dilations[i] - 1);
  const blocks = reach.map((r, i) => Math.floor(r / strides[i]) + 1);
  const places = kernel.reduce((p, d) => p * d, 1);
  const [batch, rows] = n.shape(0);
  const channels = rows / places;
  if (n.rank(0) !== 3 || !Number.isInteger(channels) || n.shape(0)[2] !== blocks.reduce((p, d) => p * d, 1)) {
    n.mismatch(`[${n.shape(0).join(', ')}]`, `[batch, channels·${places}, ${blocks.join('·')}]`);
  }
  const weights = n.generate('f32', [rows, 1, ...kernel], (i) => i % places === Math.floor(i / places) % places);
  const x = n.cast(n.reshape(n.x(0), [batch, rows, ...blocks]), 'f32');
  // What the stride leaves of the image beyond the last block.
  const outputPadding = reach.map((r, i) => r - (blocks[i] - 1) * strides[i]);
  return n.cast(n.op('conv_transpose', [x, weights], { strides, dilations, pads, group: channels, outputPadding }), n.dtype(0));
};
