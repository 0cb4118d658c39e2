/**
 * Gradients of convolution, also those of conv_transpose and avg_pool, which are its adjoints. All are core ops, so they can be
 * differentiated again. Spatial sizes that a convolution's stride leaves unread get zeros.
 */
import type { GraphBuilder, ValueId } from '@bitloom/ir';
import { flip, greater, gated, padWith, reduceSum, reshapeTo, scalarLike, sliceAxis, transpose } from './compose.js';
import type { Activation, ConvShape } from './conv-attrs.js';

/** Cotangent before the fused activation of a layer with output `y`: zero where it clamped (y on a bound), as for `clip` inside. */
export function beforeActivation(b: GraphBuilder, y: ValueId, dy: ValueId, a: Activation): ValueId {
  let d = dy;
  if (a && a.min !== -Infinity) d = gated(b, greater(b, y, scalarLike(b, y, a.min)), d);
  if (a && a.max !== Infinity) d = gated(b, greater(b, scalarLike(b, y, a.max), y), d);
  return d;
}

/** Bias gradient: dy (N, C, spatial…) summed over all but the channels. */
export const channelSum = (b: GraphBuilder, dy: ValueId): ValueId =>
  reduceSum(b, dy, b.shapeOf(dy).flatMap((_, a) => (a === 1 ? [] : [a])), false);

/** dx of y = conv(x, w), for x of spatial size `size`: w spread over dy. */
export function convInputGradient(b: GraphBuilder, dy: ValueId, w: ValueId, shape: ConvShape, size: readonly number[]): ValueId {
  const { strides, dilations, pads, group } = shape;
  const [outs, perGroup, ...kernel] = b.shapeOf(w);
  const n = kernel.length;
  const reach = kernel.map((k, i) => (k - 1) * dilations[i]);
  if (strides.every((s) => s === 1) && pads.every((p, i) => p <= reach[i % n])) {
    // Convolution with flipped, transposed weights: the same sum as conv_transpose; onnxruntime runs it 1.4 times as fast.
    const flipped = reshapeTo(b, flip(b, w, kernel.map((_, i) => i + 2)), [group, outs / group, perGroup, ...kernel]);
    const swapped = transpose(b, flipped, [0, 2, 1, ...kernel.map((_, i) => i + 3)]);
    const turned = reshapeTo(b, swapped, [group * perGroup, outs / group, ...kernel]);
    return b.add('conv', [dy, turned], { strides, dilations, pads: pads.map((p, i) => reach[i % n] - p), group });
  }
  const out = b.shapeOf(dy).slice(2);
  const outputPadding = size.map((d, i) => d + pads[i] + pads[n + i] - ((out[i] - 1) * strides[i] + reach[i] + 1));
  return b.add('conv_transpose', [dy, w], { strides, dilations, pads, group, outputPadding });
}

/** Above this many taps the unfolded input would be too large, and the weight gradient becomes a convolution. */
const MAX_UNFOLDED_TAPS = 64;

/** dw of y = conv(x, w), for w of shape `weight`: dw[o, c, k] = Σ_{n,p} dy[n, o, p]·x[n, c, p·stride + k·dilation − pad]. */
export function convWeightGradient(b: GraphBuilder, x: ValueId, dy: ValueId, shape: ConvShape, weight: readonly number[]): ValueId {
  const { strides, dilations, pads, group } = shape;
  const [outs, perGroup, ...kernel] = weight;
  const [batch, , ...out] = b.shapeOf(dy);
  const n = kernel.length;
  const taps = kernel.reduce((p, k) => p * k, 1);
  const positions = out.reduce((p, k) => p * k, 1);

  if (taps > MAX_UNFOLDED_TAPS) {
    // The roles of batch and channels exchanged, strides become dilations; one convolution per group.
    const swap = [1, 0, ...kernel.map((_, i) => i + 2)];
    const [xs, dys] = [transpose(b, x, swap), transpose(b, dy, swap)];
    const parts = Array.from({ length: group }, (_, g) => {
      const ins = [sliceAxis(b, xs, 0, g * perGroup, perGroup), sliceAxis(b, dys, 0, (g * outs) / group, outs / group)];
      const full = b.add('conv', ins, { strides: dilations, dilations: strides, pads, group: 1 });
      return transpose(b, kernel.reduce((v, k, i) => sliceAxis(b, v, i + 2, 0, k), full), swap);
    });
    return parts.length === 1 ? parts[0] : b.add('concat', parts, { axis: 0 });
  }

  if (n === 2 && strides.every((v) => v === 1)) {
    const fewer = kernel[0] * (outs / group) + kernel[1] * perGroup < taps * perGroup;
    // Small images grow too much by what is padded: 64 channels of 8×8 were as fast either way.
    const grown = ((out[0] + (kernel[0] - 1) * dilations[0] + 1) * (out[1] + (kernel[1] - 1) * dilations[1])) / positions;
    if (fewer && grown < 1.5) return weightGradientByShifts(b, x, dy, shape, weight);
  }

  // Unfolded: one strided slice of x per tap, then matrix products (2.3 times as fast on onnxruntime as the above).
  const padded = padWith(b, x, [0, 0, ...pads.slice(0, n)], [0, 0, ...pads.slice(n)]);
  const slices = Array.from({ length: taps }, (_, t) => {
    let rest = t;
    const starts = kernel.toReversed().map((k, i) => {
      const at = (rest % k) * dilations[n - 1 - i];
      rest = Math.floor(rest / k);
      return at;
    }).reverse();
    const slice = kernel.reduce((v, _, i) => sliceAxis(b, v, i + 2, starts[i], out[i], strides[i]), padded);
    return reshapeTo(b, slice, [batch, group, 1, perGroup, positions]);
  });
  const unfolded = reshapeTo(b, slices.length === 1 ? slices[0] : b.add('concat', slices, { axis: 2 }), [batch, group, taps * perGroup, positions]);
  // One product per image, summed afterwards: onnxruntime takes the swap of the last two axes into its matrix product, so that no
  // large tensor is transposed.
  const product = b.add('matmul', [reshapeTo(b, dy, [batch, group, outs / group, positions]), transpose(b, unfolded, [0, 1, 3, 2])]);
  const summed = reduceSum(b, product, [0], false);
  return reshapeTo(b, transpose(b, reshapeTo(b, summed, [outs, taps, perGroup]), [0, 2, 1]), weight);
}

/**
 * The same for two spatial axes and stride 1. With rows of x and dy padded to one width and laid end to end, a tap (k, l) is an offset k·rowOffset + l·dilation, of
 * which dy takes the first part and x the second: kernel[0] copies of dy and kernel[1] of x, in long runs, in place of kernel[0]·kernel[1] of x. The zeros that pad
 * dy's rows cancel what x has there. A batch of 128 on onnxruntime, 2 cores: 16 channels of 32×32 in 16 ms, unfolded 30; 32 of 16×16 in 12, unfolded 15.
 */
function weightGradientByShifts(b: GraphBuilder, x: ValueId, dy: ValueId, { dilations, pads, group }: ConvShape, weight: readonly number[]): ValueId {
  const [outs, perGroup, k, l] = weight;
  const padded = padWith(b, x, [0, 0, pads[0], pads[1]], [0, 0, pads[2], pads[3]]);
  const [batch, channels, height, width] = b.shapeOf(padded);
  const [, , outHeight, outWidth] = b.shapeOf(dy);
  const down = dilations[0];
  // Longer than x by a row, which takes what the last copy of x is moved by.
  const rows = height + 1;
  const length = rows * width;

  // Copies at a distance of one row less than a shift, or one row more, are shifted copies once they are cut into rows.
  const flat = reshapeTo(b, padded, [batch, channels, height * width]);
  const filler = (size: number): ValueId => sliceAxis(b, flat, 2, 0, size);
  const gap = width - dilations[1];
  const copies = Array.from({ length: l }, (_, i) => [flat, filler(i < l - 1 ? gap : l * width - (l - 1) * gap)]).flat();
  const xs = reshapeTo(b, b.add('concat', copies, { axis: 2 }), [batch, group, perGroup * l, length]);

  const each = reshapeTo(b, padWith(b, dy, [0, 0, 0, 0], [0, 0, rows + down - outHeight, width - outWidth]), [batch, outs, length + down * width]);
  const last = sliceAxis(b, each, 2, 0, length - (k - 1) * down * width);
  const dys = reshapeTo(b, b.add('concat', [...Array.from({ length: k - 1 }, () => each), last], { axis: 2 }), [batch, group, (outs / group) * k, length]);

  const summed = reduceSum(b, b.add('matmul', [dys, transpose(b, xs, [0, 1, 3, 2])]), [0], false);
  return reshapeTo(b, transpose(b, reshapeTo(b, summed, [outs, k, perGroup, l]), [0, 2, 1, 3]), weight);
}
