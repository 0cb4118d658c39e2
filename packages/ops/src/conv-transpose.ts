/**
 * Transposed convolution of x (N, C, spatial…) with w (C, O/group, kernel…) and an optional bias (O): the adjoint of conv.
 * Gathers: y[n, o, p] = b[o] + Σ_{k, c} w[c, o, k]·x[n, c, (p + pad − k·dilation)/stride] over the taps where the quotient is an
 * integer inside x. Output size (in − 1)·stride + (kernel − 1)·dilation + 1 − pads + outputPadding.
 */
import { type Expr, type NestBuilder, e, scalarOf } from '@bitloom/kernel-spec';
import { z } from 'zod';
import { type ConvShape, convShape } from './conv-attrs.js';
import { channelSum, convWeightGradient } from './conv-gradients.js';
import { expectConvOperands } from './conv.js';
import { sliceAxis } from './compose.js';
import { type LowerInput, type Lowering, defineOp, logicalType, mismatch } from './def.js';
import { evaluateLowered, nestOver, newConstant, realValues, rowsOfChannels } from './lowering.js';
import { showTypes } from './shapes.js';
import { paddings } from './window.js';

const attrs = z.strictObject({ ...convShape, outputPadding: paddings });
export type ConvTransposeAttrs = z.infer<typeof attrs>;

/** Loops over the taps that reach output position `p`; `body` gets the input position and the tap along each axis. */
function forSources(
  b: NestBuilder, a: ConvShape, kernel: readonly number[], size: readonly number[], p: readonly Expr[],
  body: (source: Expr[], tap: Expr[]) => void, source: Expr[] = [], tap: Expr[] = [],
): void {
  const axis = source.length;
  if (axis === p.length) {
    body(source, tap);
    return;
  }
  b.for(kernel[axis], (k) => {
    const scaled = b.let(e.sub(e.add(p[axis], e.i32(a.pads[axis])), e.mul(k, e.i32(a.dilations[axis]))));
    const stride = e.i32(a.strides[axis]);
    const at = b.let(e.div(scaled, stride));
    const inside = e.and(e.ge(scaled, e.i32(0)), e.lt(at, e.i32(size[axis])));
    b.if(a.strides[axis] === 1 ? inside : e.and(inside, e.eq(e.rem(scaled, stride), e.i32(0))), () =>
      forSources(b, a, kernel, size, p, body, [...source, at], [...tap, k]));
  });
}

/** (C, O, taps) → (taps, C, O), so that the innermost loop over output channels is contiguous. */
function channelsInnermost(data: Float32Array, matrix: number, taps: number): Float32Array {
  return Float32Array.from(data, (_, i) => data[(i % matrix) * taps + Math.floor(i / matrix)]);
}

function lower(n: LowerInput<ConvTransposeAttrs>): Lowering {
  const { attrs } = n;
  const { shape, dtype } = n.inputs[1];
  const [channels, perGroup, ...kernel] = shape;
  const taps = kernel.reduce((p, k) => p * k, 1);
  const data = dtype === 'f32' ? realValues(n.inputs[1]) : null;
  const packed = data && newConstant('weight', 'f32', [...kernel, channels, perGroup], channelsInnermost(data, channels * perGroup, taps));
  return nestOver(n, [0, packed ?? 1, ...(n.inputs.length > 2 ? [2] : [])], (b, [x, weight, bias], [y]) => {
    const w = packed ? { ...weight, shape, strides: [...weight.strides.slice(-2), ...weight.strides.slice(0, -2)] } : weight;
    const { group } = attrs;
    const [batch, , ...size] = y.shape;
    const inSize = x.shape.slice(2);
    const inChannel = (g: Expr, c: Expr): Expr => e.add(e.mul(g, e.i32(channels / group)), c);
    const outChannel = (g: Expr, o: Expr): Expr => e.add(e.mul(g, e.i32(perGroup)), o);
    const initial = (o: Expr): Expr => (bias ? b.load(bias, [o]) : e.constant(scalarOf(logicalType(x)), 0));
    if (rowsOfChannels(y)) {
      // Channels innermost: whole rows of outputs accumulate in place.
      b.loops([batch, ...size, group], ([image, ...rest]) => {
        const [p, g] = [rest.slice(0, -1), rest[rest.length - 1]];
        const at = (o: Expr): Expr[] => [image, outChannel(g, o), ...p];
        b.for(perGroup, (o) => b.store(y, at(o), initial(outChannel(g, o))));
        forSources(b, attrs, kernel, inSize, p, (source, tap) =>
          b.for(channels / group, (c) => {
            const value = b.let(b.load(x, [image, inChannel(g, c), ...source]));
            b.for(perGroup, (o) => b.store(y, at(o), e.add(b.load(y, at(o)), e.mul(value, b.load(w, [inChannel(g, c), o, ...tap])))));
          }));
      });
      return;
    }
    b.loops([batch, group, perGroup, ...size], ([image, g, o, ...p]) => {
      const sum = b.local(initial(outChannel(g, o)));
      forSources(b, attrs, kernel, inSize, p, (source, tap) =>
        b.for(channels / group, (c) => {
          const value = b.load(x, [image, inChannel(g, c), ...source]);
          sum.set(e.add(sum.value, e.mul(value, b.load(w, [inChannel(g, c), o, ...tap]))));
        }));
      b.store(y, [image, outChannel(g, o), ...p], sum.value);
    });
  });
}

export const convTranspose = defineOp<ConvTransposeAttrs>({
  name: 'conv_transpose',
  summary: 'transposed convolution: the adjoint of conv, with an optional bias',
  attrs,
  infer(ins, a, origin) {
    expectConvOperands(ins, 'conv_transpose', origin, (w) => w[1] * a.group);
    const [{ dtype, shape: [batch, channels, ...size] }, { shape: [from, perGroup, ...kernel] }] = ins;
    const n = size.length;
    if ([a.strides, a.dilations, a.outputPadding].some((v) => v.length !== n) || a.pads.length !== 2 * n) {
      mismatch(origin, 'conv_transpose', 'attributes of another length', `strides, dilations, pads and outputPadding for ${n} spatial axes`);
    }
    if (channels !== from || channels % a.group !== 0) {
      mismatch(origin, 'conv_transpose', `${showTypes(ins)} in ${a.group} groups`, 'w of shape (C, O/group, kernel…), C divisible by group');
    }
    const out = size.map((d, i) =>
      (d - 1) * a.strides[i] + (kernel[i] - 1) * a.dilations[i] + 1 - a.pads[i] - a.pads[n + i] + a.outputPadding[i]);
    if (out.some((d) => d < 1)) mismatch(origin, 'conv_transpose', `output size ${out.join('×')}`, 'padding that leaves an output');
    return [{ dtype, shape: [batch, perGroup * a.group, ...out] }];
  },
  evaluate: (ins, a, outs) => evaluateLowered(lower, ins, a, outs, true),
  gradient(b, { inputs: [x, w, bias], attrs: { strides, dilations, pads, group }, cotangents: [dy] }) {
    const a = { strides, dilations, pads, group };
    // Positions that only output padding adds may make conv yield more than x has; they read no tap of x.
    const size = b.shapeOf(x).slice(2);
    const back = b.add('conv', [dy!, w], a);
    const dx = size.reduce((v, d, i) => sliceAxis(b, v, i + 2, 0, d), back);
    const grads = [dx, convWeightGradient(b, dy!, x, a, b.shapeOf(w))];
    return bias ? [...grads, channelSum(b, dy!)] : grads;
  },
  lower,
  scalar: null,
  channelsLast: true,
  accumulates: ({ outputs: [y] }) => rowsOfChannels(y),
});
