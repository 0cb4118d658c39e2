/**
 * Convolution of x (N, C, spatial…) with w (O, C/group, kernel…) and an optional bias (O). Runs on the conv family with 1 or 2
 * spatial axes and constant weights, else (and from f32 inputs straight to codes) as a nest.
 */
import type { TensorType } from '@bitloom/ir';
import { type View, e, scalarOf } from '@bitloom/kernel-spec';
import { z } from 'zod';
import { convCall } from './conv-call.js';
import { activation, convGeometry, convShape, convWindow } from './conv-attrs.js';
import { beforeActivation, channelSum, convInputGradient, convWeightGradient } from './conv-gradients.js';
import { type LowerInput, type Lowering, defineOp, logicalType, mismatch } from './def.js';
import { channelsLastStrides, evaluateLowered, hasStrides, nestOver, newConstant, realValues } from './lowering.js';
import { expectClass, expectCount, expectSameDType, showTypes } from './shapes.js';
import { forTaps, tapsInside, windowPositions } from './window.js';

const attrs = z.strictObject({ ...convShape, activation });
/** `activation`: bounds of a fused Relu or Clip; absent or null where there is none. */
export type ConvAttrs = z.infer<typeof attrs>;

/** Checks what all convolutions have in common: float operands of one type, equal ranks from 3 up, a bias of `channels`. */
export function expectConvOperands(ins: readonly TensorType[], op: string, origin: string, channels: (w: readonly number[]) => number): void {
  expectCount(ins, op, origin, 2, 3);
  expectClass(ins[0], 'float', op, origin);
  expectSameDType(ins, op, origin);
  const [x, w, b] = ins;
  if (x.shape.length < 3 || w.shape.length !== x.shape.length) mismatch(origin, op, showTypes(ins), 'x and w of one rank, 3 or more');
  const outs = channels(w.shape);
  if (b && (b.shape.length !== 1 || b.shape[0] !== outs)) mismatch(origin, op, showTypes(ins), `a bias of ${outs} elements`);
}

/** y[n, o, p] = Σ_{k, c} w[o, c, k]·x[n, …, p·stride + k·dilation − pad] + b[o] from a local accumulator, taps outermost. */
function lowerToNest(n: LowerInput<ConvAttrs>): Lowering {
  const { attrs } = n;
  const weight = n.inputs[1];
  const data = realValues(weight);
  const args = [0, data && weight.dtype === 'f32' ? newConstant('weight', 'f32', weight.shape, data) : 1, ...(n.inputs.length > 2 ? [2] : [])];
  return nestOver(n, args, (b, [x, w, bias], [y]: readonly View[]) => {
    const window = convWindow(attrs, w.shape);
    const [perGroup, inSize] = [w.shape[1], x.shape.slice(2)];
    const [batch, outs, ...size] = y.shape;
    const t = scalarOf(logicalType(x));
    b.loops([batch, ...size], ([image, ...p]) => {
      const ranges = p.map((v, axis) => tapsInside(b, window, axis, v, size[axis], inSize[axis]));
      b.loops([attrs.group, outs / attrs.group], ([g, r]) => {
        const o = b.let(e.add(e.mul(g, e.i32(outs / attrs.group)), r));
        const sum = b.local(e.constant(t, 0));
        forTaps(b, ranges, window.dilations, (source, tap) =>
          b.for(perGroup, (c) => {
            const value = b.load(x, [image, e.add(e.mul(g, e.i32(perGroup)), c), ...source]);
            sum.set(e.add(sum.value, e.mul(b.load(w, [o, c, ...tap]), value)));
          }));
        let result = bias ? e.add(sum.value, b.load(bias, [o])) : sum.value;
        if (attrs.activation) result = e.pmin(e.constant(t, attrs.activation.max), e.pmax(e.constant(t, attrs.activation.min), result));
        b.store(y, [image, o, ...p], result);
      });
    });
  });
}

function lower(n: LowerInput<ConvAttrs>): Lowering {
  const [x, w] = n.inputs;
  const [y] = n.outputs;
  if (x.shape.length > 4 || logicalType(x) !== 'f32' || !w.constant || (y.quant && !x.quant)) return lowerToNest(n);
  if (![x, y].every((v) => hasStrides(v, channelsLastStrides(v.shape)))) throw new Error('conv is lowered over channels-last operands');
  return convCall(n, convGeometry(n.attrs, x.shape, w.shape, y.shape));
}

export const conv = defineOp<ConvAttrs>({
  name: 'conv',
  summary: 'convolution with strides, dilations, padding and groups, an optional bias and an optional fused clamp',
  attrs,
  infer(ins, a, origin) {
    expectConvOperands(ins, 'conv', origin, (w) => w[0]);
    const [{ dtype, shape: [batch, channels, ...size] }, { shape: w }] = ins;
    if (channels !== w[1] * a.group || w[0] % a.group !== 0) {
      mismatch(origin, 'conv', `${showTypes(ins)} in ${a.group} groups`, 'w of shape (O, C/group, kernel…), O divisible by group');
    }
    return [{ dtype, shape: [batch, w[0], ...windowPositions(size, convWindow(a, w), 'conv', origin)] }];
  },
  evaluate: (ins, a, outs) => evaluateLowered(lower, ins, a, outs, true),
  gradient(b, { inputs: [x, w, bias], outputs: [y], attrs: a, cotangents: [dy] }) {
    const d = beforeActivation(b, y, dy!, a.activation);
    const grads = [convInputGradient(b, d, w, a, b.shapeOf(x).slice(2)), convWeightGradient(b, x, d, a, b.shapeOf(w))];
    return bias ? [...grads, channelSum(b, d)] : grads;
  },
  lower,
  scalar: null,
  channelsLast: true,
  accumulates: null,
});
