/**
 * Gradients of convolution, also those of conv_transpose and avg_pool, which are its adjoints. All are core ops, so they can be
 * differentiated again. Spatial sizes that a convolution's stride leaves unread get zeros.
 */
import type { GraphBuilder, ValueId } from '@bitloom/ir';
import { tensorOf } from '@bitloom/tensor';
import { broadcastTo, flip, greater, gated, mul, padWith, reduceSum, reshapeTo, scalarLike, sliceAxis, transpose } from './compose.js';
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

  if (n === 2 && strides.every((s) => s === 1) && kernel[0] * perGroup + kernel[1] * (outs / group) < taps * perGroup) {
    return weightGradientByShifts(b, x, dy, shape, weight);
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
 * The same for two spatial axes and stride 1. With the rows of an image laid end to end, a tap (k, l) is an offset k·rowOffset + l·dilation, of which x takes the
 * first part and dy the second: kernel[0] copies of x and kernel[1] of dy, in long runs, in place of kernel[0]·kernel[1] of x. Where a tap's offset leads out of a
 * row of x, the copy of dy is 0; where it leads out of all rows, zeros lie between the copies of x. A batch of 128, 3×3 taps, on onnxruntime with 2 cores:
 * 16 channels of 32×32 in 8.5 ms (unfolded 30), 32 of 16×16 in 5 (15), 64 of 8×8 in 5 (11).
 */
function weightGradientByShifts(b: GraphBuilder, x: ValueId, dy: ValueId, { dilations, pads, group }: ConvShape, weight: readonly number[]): ValueId {
  const [outs, perGroup, k, l] = weight;
  const [batch, , height, width] = b.shapeOf(x);
  const [, , outHeight, outWidth] = b.shapeOf(dy);
  const [down, right] = dilations;
  const [top, left] = pads;
  const pitch = Math.max(width, outWidth);
  const flat = (v: ValueId): ValueId => {
    const [n, c, h, w] = b.shapeOf(v);
    return reshapeTo(b, padWith(b, v, [0, 0, 0, 0], [0, 0, 0, pitch - w]), [n, c, h * pitch]);
  };
  // Rows of zeros that tap row i reads above x and below it.
  const above = (i: number): number => Math.max(0, top - i * down);
  const below = (i: number): number => Math.max(0, outHeight - 1 + i * down - top - (height - 1));
  const apart = Math.max(0, ...Array.from({ length: k - 1 }, (_, i) => below(i) + above(i + 1)));

  // Copy i of dy begins i·right after its row begins, copy i of x at start − i·down·pitch: one after the other at equal distances.
  const start = left + top * pitch;
  const [size, outSize] = [height * pitch, outHeight * pitch];
  const length = Math.max(size + (down + apart) * pitch, outSize + (l - 1) * right, start + size - (k - 1) * down * pitch);
  const rows = (copies: readonly ValueId[], first: number, distance: number): ValueId => {
    const [, count, each] = b.shapeOf(copies[0]);
    const zeros = (n: number): ValueId[] => (n === 0 ? [] : [broadcastTo(b, scalarLike(b, x, 0), [batch, count, n])]);
    const last = copies.length * length - first - (copies.length - 1) * distance - each;
    const parts = copies.flatMap((c, i) => [c, ...zeros(i < copies.length - 1 ? distance - each : last)]);
    return reshapeTo(b, b.add('concat', [...zeros(first), ...parts], { axis: 2 }), [batch, group, (count / group) * copies.length, length]);
  };
  const whole = flat(x);
  const xs = rows(Array.from({ length: k }, () => whole), start, length - down * pitch);
  const dys = rows(Array.from({ length: l }, (_, i) => {
    const inside = Array.from({ length: outWidth }, (_, c) => Number(c + i * right >= left && c + i * right < left + width));
    return flat(inside.every(Boolean) ? dy : mul(b, dy, b.const(tensorOf(b.typeOf(dy).dtype, [outWidth], inside))));
  }), 0, length + right);

  const summed = reduceSum(b, b.add('matmul', [dys, transpose(b, xs, [0, 1, 3, 2])]), [0], false);
  return reshapeTo(b, transpose(b, reshapeTo(b, summed, [outs, l, perGroup, k]), [0, 2, 3, 1]), weight);
}
