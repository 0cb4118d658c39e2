import { describe, expect, it } from 'vitest';
import { type Tensor, elementCount, getAt, rowMajorStrides, tensorOf, toNumbers } from '@bitloom/tensor';
import type { ConvTransposeAttrs } from './conv-transpose.js';
import { checkGradient } from './gradients.test.util.js';
import { activationParams, coded, codesOf, evaluateOp, indices, integers, normal, rounded, runLowered } from './lowered.test.util.js';
import { getOp } from './registry.js';

const plain = { strides: [1, 1], dilations: [1, 1], pads: [0, 0, 0, 0], group: 1, outputPadding: [0, 0] };
const cases: readonly { name: string; x: readonly number[]; w: readonly number[]; attrs: ConvTransposeAttrs }[] = [
  { name: 'plain', x: [2, 3, 4, 3], w: [3, 2, 3, 2], attrs: plain },
  { name: 'strides, pads, output padding', x: [1, 2, 4, 5], w: [2, 3, 3, 3], attrs: { ...plain, strides: [2, 3], pads: [1, 0, 1, 2], outputPadding: [1, 2] } },
  { name: 'dilated groups', x: [2, 4, 3, 4], w: [4, 3, 2, 3], attrs: { ...plain, strides: [2, 1], dilations: [3, 2], pads: [1, 2, 0, 1], group: 2 } },
  { name: 'depthwise', x: [1, 3, 4, 4], w: [3, 1, 4, 4], attrs: { ...plain, strides: [2, 2], pads: [1, 1, 1, 1], group: 3 } },
  { name: 'output padding beyond the stride', x: [1, 2, 3, 3], w: [2, 2, 2, 2], attrs: { ...plain, dilations: [3, 3], outputPadding: [2, 1] } },
  { name: '1-D', x: [2, 3, 5], w: [3, 2, 4], attrs: { strides: [3], dilations: [1], pads: [2, 1], group: 1, outputPadding: [1] } },
  { name: '3-D', x: [1, 2, 2, 3, 2], w: [2, 1, 2, 1, 3], attrs: { strides: [2, 1, 1], dilations: [1, 1, 1], pads: [0, 0, 1, 0, 0, 1], group: 2, outputPadding: [0, 0, 0] } },
];

/** By scattering: every input spreads over the outputs under its window. */
function naive(x: Tensor, w: Tensor, b: Tensor, a: ConvTransposeAttrs, shape: readonly number[]): number[] {
  const strides = rowMajorStrides(shape);
  const out = indices(shape).map(([, o]) => getAt(b, o));
  indices(x.shape).forEach(([n, c, ...i], at) => {
    const group = Math.floor(c / (x.shape[1] / a.group));
    indices(w.shape.slice(1)).forEach(([o, ...k], j) => {
      const p = i.map((v, d) => v * a.strides[d] + k[d] * a.dilations[d] - a.pads[d]);
      if (p.some((v, d) => v < 0 || v >= shape[d + 2])) return;
      const to = [n, group * w.shape[1] + o, ...p].reduce((s, v, d) => s + v * strides[d], 0);
      out[to] += getAt(x, at) * getAt(w, c * elementCount(w.shape.slice(1)) + j);
    });
  });
  return out;
}

describe.each(cases)('conv_transpose, $name', ({ x: xs, w: ws, attrs }) => {
  const outs = ws[1] * attrs.group;

  it('spreads every input over its window', () => {
    const [x, w, b] = [integers(xs, 1), integers(ws, 2), integers([outs], 3)];
    const [y] = evaluateOp('conv_transpose', [x, w, b], attrs);
    expect(toNumbers(y)).toEqual(naive(x, w, b, attrs, y.shape));
  });

  it('lowers to the same values in both layouts, with constant, computed and quantised weights, and to codes', () => {
    const ins = [normal(xs, 4), normal(ws, 5), normal([outs], 6)];
    const [y] = evaluateOp('conv_transpose', ins, attrs);
    for (const channelsLast of [true, false]) {
      expect(runLowered('conv_transpose', ins.map((tensor, i) => ({ tensor, constant: i > 0 })), attrs, [], channelsLast)[0]).toEqual(y);
      expect(runLowered('conv_transpose', ins.map((tensor) => ({ tensor })), attrs, [], channelsLast)[0]).toEqual(y);
    }
    const [xq, yq] = [activationParams(8, 0.03, 120), activationParams(8, 0.1, 99)];
    const wq = { scheme: { bits: 4, signed: true, axis: null }, scale: Float32Array.of(0.4), zeroPoint: Int32Array.of(0) } as const;
    const [z] = evaluateOp('conv_transpose', [rounded(ins[0], xq), rounded(ins[1], wq), ins[2]], attrs);
    const stored = [{ tensor: ins[0], quant: xq }, { tensor: ins[1], weight: wq }, { tensor: ins[2] }];
    expect(toNumbers(runLowered('conv_transpose', stored, attrs, [yq])[0])).toEqual(toNumbers(codesOf(z, yq)));
  });

  it('has gradients of first and second order', () => {
    checkGradient((b, ids) => [b.add('conv_transpose', ids, attrs)], [normal(xs, 7), normal(ws, 8), normal([outs], 9)], { step: 1 / 8 });
  });
});

it('conv_transpose refuses operands that do not fit', () => {
  const f32 = (...shape: number[]): { dtype: 'f32'; shape: number[] } => ({ dtype: 'f32', shape });
  const infer = (ins: { dtype: 'f32'; shape: number[] }[], attrs: unknown = plain): unknown => getOp('conv_transpose').infer(ins, attrs, 'node');
  const refused = coded('E204');
  expect(() => infer([f32(1, 3, 4, 4), f32(2, 2, 3, 3)])).toThrowError(refused);
  expect(() => infer([f32(1, 3, 4, 4), f32(3, 2, 3, 3), f32(3)])).toThrowError(refused);
  expect(() => infer([f32(1, 3, 4, 4), f32(3, 2, 1, 1)], { ...plain, pads: [2, 0, 2, 0] })).toThrowError(refused);
  expect(() => infer([f32(1, 3, 4), f32(3, 2, 3)])).toThrowError(refused);
  expect(infer([f32(1, 3, 4, 4), f32(3, 2, 3, 3), f32(2)])).toEqual([f32(1, 2, 6, 6)]);
});

it('conv_transpose leaves output padding without products', () => {
  const [x, w] = [tensorOf('f32', [1, 1, 2], [1, 2]), tensorOf('f32', [1, 1, 2], [3, 4])];
  const attrs = { strides: [2], dilations: [1], pads: [0, 0], group: 1, outputPadding: [1] };
  expect(toNumbers(evaluateOp('conv_transpose', [x, w], attrs)[0])).toEqual([3, 4, 6, 8, 0]);
});
