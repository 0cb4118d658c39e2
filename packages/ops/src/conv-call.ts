/** Calls of the convolution family, for conv and linear. */
import { fail } from '@bitloom/diagnostics';
import { type ConvGeometry, convK } from '@bitloom/kernel-spec';
import { codeRange, quantizeValue } from '@bitloom/numerics';
import type { Activation } from './conv-attrs.js';
import type { LowerInput, Lowering, Operand } from './def.js';
import { newConstant, realValues } from './lowering.js';

/** (O, C, taps) → (O, taps, C): the family's weight order. */
function tapsFirst(data: ArrayLike<number>, rows: number, channels: number, taps: number): Float32Array {
  const out = new Float32Array(data.length);
  let at = 0;
  for (let o = 0; o < rows; o++) {
    for (let t = 0; t < taps; t++) for (let c = 0; c < channels; c++) out[at++] = data[(o * channels + c) * taps + t];
  }
  return out;
}

/**
 * A convolution (or, as 1×1, a linear layer) of inputs [x, w (O, C/g, taps…) constant, b?] as one call of the family. The float
 * form, where x is not quantised, takes quantised weights at their real values and gives f32 outputs only.
 *
 * Integer form, where x is quantised with (s_x, z_x) and w with s_w[o]: v = quantizeValue(w), and with real (double) arithmetic
 * rounded to f32 once at the end,
 *
 *   codes with (s_y, z_y):  multiplier[o] = f32(s_x·s_w[o] / s_y)   offset[o] = f32(b[o]/s_y + z_y)
 *   f32 output:             multiplier[o] = f32(s_x·s_w[o])         offset[o] = b[o]
 *
 * For codes, lo/hi are the codes of the fused activation's bounds: rounding is monotone, so clamping codes is quantising the
 * clamped value.
 *
 * @throws E601 where x is quantised but w is not; E602 where the i32 accumulator could overflow
 */
export function convCall(n: LowerInput<{ activation?: Activation }>, g: ConvGeometry): Lowering {
  const [x, w, b] = n.inputs as [Operand, Operand, Operand | undefined];
  const y = n.outputs[0];
  const { min, max } = n.attrs.activation ?? { min: -Infinity, max: Infinity };
  const taps = g.kH * g.kW;
  const channels = g.inC / g.groups;
  const weightShape = [g.outC, g.kH, g.kW, channels];

  if (!x.quant) {
    const weights = newConstant('weight', 'f32', weightShape, tapsFirst(realValues(w)!, g.outC, channels, taps));
    const params = { ...g, kind: 'f32', weightBits: null, activationBits: null, xZero: 0, output: 'f32', lo: min, hi: max } as const;
    return { body: { family: 'conv', params }, args: [0, weights, b ? 2 : newConstant('bias', 'f32', [g.outC], new Float32Array(g.outC))] };
  }

  if (!w.constant || !w.weight || (w.weight.scheme.axis ?? 0) !== 0) {
    fail('E601', 'a convolution of quantised inputs needs constant weights, quantised per tensor or per output channel', {
      remedy: 'convert the input to float',
    });
  }
  if (b && !b.constant) fail('E601', 'a convolution of quantised inputs needs a constant bias', { remedy: 'convert the input to float' });
  const [xScale, xZero] = [x.quant.scale[0], x.quant.zeroPoint[0]];
  const { scheme, scale, zeroPoint } = w.weight;
  const weightCodes = codeRange(scheme);
  const inputCodes = codeRange(x.quant.scheme);
  const largest = convK(g) * Math.max(-weightCodes.lo, weightCodes.hi) * Math.max(xZero - inputCodes.lo, inputCodes.hi - xZero);
  if (largest > 2 ** 31 - 1) {
    fail('E602', 'the sum of a convolution could exceed 32 bits', {
      found: `${convK(g)} products of ${scheme.bits}-bit weights and ${x.quant.scheme.bits}-bit inputs, up to ${largest}`,
      expected: `at most ${2 ** 31 - 1}`,
      remedy: 'pin the node to fewer bits or to float',
    });
  }

  const perRow = taps * channels;
  const rowScale = (o: number): number => scale[scale.length === 1 ? 0 : o];
  const data = w.constant.data as Float32Array;
  const values = new Float32Array(data.length);
  for (let o = 0, i = 0; o < g.outC; o++) {
    const [s, z] = [rowScale(o), zeroPoint[zeroPoint.length === 1 ? 0 : o]];
    for (const end = i + perRow; i < end; i++) values[i] = quantizeValue(data[i], s, z, scheme);
  }
  const bias = (o: number): number => (b ? (b.constant!.data as Float32Array)[o] : 0);
  const rows = (f: (o: number) => number): number[] => Array.from({ length: g.outC }, (_, o) => f(o));
  const q = y.quant;
  const [multiplier, offset] = q
    ? [rows((o) => (xScale * rowScale(o)) / q.scale[0]), rows((o) => bias(o) / q.scale[0] + q.zeroPoint[0])]
    : [rows((o) => xScale * rowScale(o)), rows(bias)];
  const bound = (v: number): number => (q ? quantizeValue(v, q.scale[0], q.zeroPoint[0], q.scheme) : v);
  const params = {
    ...g, kind: 'int', weightBits: scheme.bits, activationBits: x.quant.scheme.bits, xZero,
    output: q ? 'codes' : 'f32', lo: bound(min), hi: bound(max),
  } as const;
  return {
    body: { family: 'conv', params },
    args: [
      0,
      newConstant('weight', 'i8', weightShape, tapsFirst(values, g.outC, channels, taps)),
      newConstant('multiplier', 'f32', [g.outC], multiplier),
      newConstant('offset', 'f32', [g.outC], offset),
    ],
  };
}
