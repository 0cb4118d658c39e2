import { describe, expect, it } from 'vitest';
import { type QuantParams, codeRange, quantize, quantizeValue, requantize } from '@bitloom/numerics';
import { type Tensor, allocate, elementCount, getAt, setAt, tensorOf, toNumbers } from '@bitloom/tensor';
import type { ConvAttrs } from './conv.js';
import { checkGradient, evaluate, gradientOf } from './gradients.test.util.js';
import {
  type Stored, activationParams, coded, codesOf, decoded, distance, evaluateOp, integers, lowerOp, normal, rounded, runLowered,
} from './lowered.test.util.js';
import { getOp } from './registry.js';

interface Case {
  readonly name: string;
  readonly x: readonly number[];
  readonly w: readonly number[];
  readonly attrs: ConvAttrs;
}

const plain = { strides: [1, 1], dilations: [1, 1], pads: [0, 0, 0, 0], group: 1 };
const cases: readonly Case[] = [
  { name: '1×1', x: [2, 3, 4, 5], w: [4, 3, 1, 1], attrs: plain },
  { name: 'padded 3×3', x: [1, 2, 5, 4], w: [3, 2, 3, 3], attrs: { ...plain, pads: [1, 1, 1, 1] } },
  { name: 'strided, pads uneven, last rows unread', x: [2, 2, 8, 7], w: [3, 2, 3, 2], attrs: { ...plain, strides: [3, 2], pads: [1, 0, 0, 2] } },
  { name: 'dilated', x: [1, 2, 7, 9], w: [2, 2, 3, 2], attrs: { ...plain, dilations: [2, 3], pads: [2, 1, 1, 0] } },
  { name: 'grouped', x: [2, 6, 5, 5], w: [4, 3, 3, 3], attrs: { ...plain, strides: [2, 1], pads: [1, 1, 1, 1], group: 2 } },
  { name: 'depthwise', x: [1, 4, 6, 5], w: [4, 1, 3, 3], attrs: { ...plain, strides: [2, 2], pads: [1, 1, 1, 1], group: 4 } },
  { name: 'depthwise with multiplier', x: [1, 3, 4, 4], w: [6, 1, 2, 2], attrs: { ...plain, group: 3 } },
  { name: '1-D', x: [2, 3, 11], w: [4, 3, 5], attrs: { strides: [2], dilations: [2], pads: [3, 2], group: 1 } },
  { name: 'pads beyond the kernel', x: [1, 2, 3, 3], w: [2, 2, 2, 2], attrs: { ...plain, pads: [3, 2, 2, 3] } },
  { name: 'padded 3×3 of more channels', x: [2, 4, 5, 6], w: [4, 4, 3, 3], attrs: { ...plain, pads: [1, 1, 1, 1] } },
  { name: '5×3, dilated, pads uneven, in groups', x: [1, 6, 9, 7], w: [4, 3, 5, 3], attrs: { ...plain, dilations: [2, 1], pads: [5, 0, 3, 2], group: 2 } },
  { name: '3×2, pads beyond the kernel', x: [1, 3, 3, 4], w: [2, 3, 3, 2], attrs: { ...plain, dilations: [1, 3], pads: [4, 5, 2, 1] } },
  { name: 'without pads, 2×4 taps', x: [2, 3, 4, 7], w: [2, 3, 2, 4], attrs: plain },
  { name: '81 taps in groups', x: [1, 4, 5, 5], w: [4, 2, 9, 9], attrs: { ...plain, strides: [2, 1], pads: [4, 4, 4, 4], group: 2 } },
];
const volume: Case = { name: '3-D', x: [1, 4, 4, 3, 5], w: [2, 2, 2, 3, 2], attrs: { strides: [1, 1, 2], dilations: [2, 1, 1], pads: [1, 1, 0, 0, 1, 1], group: 2 } };

/** Convolution by its definition, on any numbers, from coordinates. */
function naive(x: Tensor, w: Tensor, a: ConvAttrs, bias: (o: number) => number, shape: readonly number[]): number[] {
  const unravel = (i: number, dims: readonly number[]): number[] => dims.reduceRight<number[]>((at, d) => {
    const rest = at.shift()!;
    return [Math.floor(rest / d), rest % d, ...at];
  }, [i]).slice(1);
  const ravel = (at: readonly number[], dims: readonly number[]): number => at.reduce((s, v, i) => s * dims[i] + v, 0);
  return Array.from({ length: elementCount(shape) }, (_, i) => {
    const [n, o, ...p] = unravel(i, shape);
    let sum = bias(o);
    for (let j = 0; j < elementCount(w.shape.slice(1)); j++) {
      const [c, ...k] = unravel(j, w.shape.slice(1));
      const at = p.map((v, d) => v * a.strides[d] + k[d] * a.dilations[d] - a.pads[d]);
      if (at.some((v, d) => v < 0 || v >= x.shape[d + 2])) continue;
      const channel = Math.floor(o / (w.shape[0] / a.group)) * w.shape[1] + c;
      sum += getAt(x, ravel([n, channel, ...at], x.shape)) * getAt(w, ravel([o, c, ...k], w.shape));
    }
    return sum;
  });
}

describe.each([...cases, volume])('conv, $name', ({ x: xs, w: ws, attrs }) => {
  const [x, w, b] = [integers(xs, 1), integers(ws, 2), integers([ws[0]], 3)];

  it('is the sum of products under the window', () => {
    const [y] = evaluateOp('conv', [x, w, b], attrs);
    expect(toNumbers(y)).toEqual(naive(x, w, attrs, (o) => getAt(b, o), y.shape));
    const [clamped] = evaluateOp('conv', [x, w, b], { ...attrs, activation: { min: -5, max: 50 } });
    expect(toNumbers(clamped)).toEqual(toNumbers(y).map((v) => Math.min(50, Math.max(-5, v))));
    const [doubles] = evaluateOp('conv', [x, w, b].map((t) => tensorOf('f64', t.shape, t.data)), attrs);
    expect(toNumbers(doubles)).toEqual(toNumbers(y));
  });

  it('lowers to the same values over channels-last storage, with constant and with computed weights', () => {
    const ins = [normal(xs, 4), normal(ws, 5), normal([ws[0]], 6)];
    const a = { ...attrs, activation: { min: -1, max: Infinity } };
    const [y] = evaluateOp('conv', ins, a);
    expect(runLowered('conv', ins.map((tensor, i) => ({ tensor, constant: i > 0 })), a)[0]).toEqual(y);
    expect(runLowered('conv', ins.map((tensor) => ({ tensor })), a)[0]).toEqual(y);
  });

  it('has gradients of first and second order', () => {
    checkGradient((g, ids) => [g.add('conv', ids, attrs)], [normal(xs, 7), normal(ws, 8), normal([ws[0]], 9)], { step: 1 / 8 });
  });

  it('has a gradient through a fused activation: that of clip after conv', () => {
    const bounds = { min: -0.5, max: 2 };
    const ins = [normal(xs, 7), normal(ws, 8), normal([ws[0]], 9)];
    const fused = gradientOf((g, ids) => [g.add('conv', ids, { ...attrs, activation: bounds })], 1);
    const apart = gradientOf((g, ids) => [g.add('clip', [g.add('conv', ids, attrs)], bounds)], 1);
    expect(evaluate(fused, ins)).toEqual(evaluate(apart, ins));
  });
});

describe('conv on integers', () => {
  const weightParams = (w: Tensor, bits: number, perChannel: boolean): QuantParams => {
    const { hi } = codeRange({ bits: bits as 8, signed: true, axis: 0 });
    const rows = perChannel ? w.shape[0] : 1;
    const per = w.data.length / rows;
    const largest = (o: number): number => Math.max(...toNumbers(w).slice(o * per, (o + 1) * per).map(Math.abs));
    const scale = Float32Array.from({ length: rows }, (_, o) => largest(o) / Math.max(1, hi));
    return { scheme: { bits: bits as 8, signed: true, axis: perChannel ? 0 : null }, scale, zeroPoint: new Int32Array(rows) };
  };
  const xq = activationParams(8, 0.031, 117);
  const yq = activationParams(8, 0.21, 101);

  describe.each(cases)('$name', ({ x: xs, w: ws, attrs }) => {
    const [x, w, b] = [normal(xs, 11), normal(ws, 12), normal([ws[0]], 13)];
    it.each([[8, 8, true], [4, 8, true], [1, 8, false], [2, 3, true], [8, 1, false]])('W%dA%d', (weightBits, activationBits, perChannel) => {
      const wq = weightParams(w, weightBits, perChannel);
      const q = activationBits === 8 ? xq : activationParams(activationBits, 4 / 2 ** activationBits, 2 ** (activationBits - 1));
      const ins: Stored[] = [{ tensor: x, quant: q }, { tensor: w, weight: wq }, { tensor: b, constant: true }];
      const a = { ...attrs, activation: { min: -3, max: 6 } };
      const [codes] = runLowered('conv', ins, a, [yq]);
      const [real] = runLowered('conv', ins, a, [null]);

      // The integers themselves, through the specified epilogue.
      const xv = tensorOf('i32', xs, quantize(x.data as Float32Array, xs, q).map((u) => u - q.zeroPoint[0]));
      const wv = tensorOf('i32', ws, quantize(w.data as Float32Array, ws, wq));
      const positions = elementCount(codes.shape.slice(2));
      const channel = (i: number): number => Math.floor(i / positions) % ws[0];
      const bound = (v: number): number => quantizeValue(v, yq.scale[0], yq.zeroPoint[0], yq.scheme);
      const exact = naive(xv, wv, attrs, () => 0, codes.shape).map((acc, i) => {
        const o = channel(i);
        const s = q.scale[0] * wq.scale[perChannel ? o : 0];
        return requantize(acc, Math.fround(s / yq.scale[0]), Math.fround(getAt(b, o) / yq.scale[0] + yq.zeroPoint[0]), bound(-3), bound(6));
      });
      expect(toNumbers(codes)).toEqual(exact);

      // The float network on the quantised values.
      const float = evaluateOp('conv', [rounded(x, q), rounded(w, wq), b], a)[0];
      expect(distance(real, float)).toBeLessThan(1e-4);
      expect(distance(codes, codesOf(float, yq))).toBeLessThanOrEqual(1);
      expect(distance(decoded(codes, yq), float)).toBeLessThanOrEqual(0.51 * yq.scale[0] + 1e-4);
    });
  });

  it('states its geometry and bits, weights in the order of the family', () => {
    const w = tensorOf('f32', [2, 2, 1, 3], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
    const unit = { scheme: { bits: 5, signed: true, axis: null }, scale: Float32Array.of(1), zeroPoint: Int32Array.of(0) } as const;
    const { lowering } = lowerOp('conv', [{ tensor: normal([1, 2, 4, 6], 1), quant: xq }, { tensor: w, weight: unit }], plain, [yq], true);
    expect(lowering.body).toMatchObject({
      family: 'conv',
      params: {
        kind: 'int', weightBits: 5, activationBits: 8, xZero: 117, output: 'codes', lo: 0, hi: 255, inH: 4, inW: 6, outH: 4, outW: 4, kH: 1, kW: 3,
      },
    });
    expect(lowering.args).toEqual([
      0,
      { name: 'weight', dtype: 'i8', shape: [2, 1, 3, 2], data: Int8Array.of(1, 4, 2, 5, 3, 6, 7, 10, 8, 11, 9, 12) },
      { name: 'multiplier', dtype: 'f32', shape: [2], data: new Float32Array(2).fill(xq.scale[0] / yq.scale[0]) },
      { name: 'offset', dtype: 'f32', shape: [2], data: Float32Array.of(101, 101) },
    ]);
  });

  it('refuses float weights and sums beyond 32 bits', () => {
    const [x, w] = [normal([1, 2, 4, 4], 1), normal([3, 2, 3, 3], 2)];
    expect(() => runLowered('conv', [{ tensor: x, quant: xq }, { tensor: w, constant: true }], plain, [yq])).toThrowError(coded('E601'));
    const wide = { strides: [1], dilations: [1], pads: [0, 0], group: 1 };
    const q = activationParams(8, 1, 0);
    const wq = { scheme: { bits: 8, signed: true, axis: null }, scale: Float32Array.of(1), zeroPoint: Int32Array.of(0) } as const;
    const lower = (channels: number): unknown => {
      const tensor = allocate('f32', [1, channels, 1]);
      return lowerOp('conv', [{ tensor, quant: q }, { tensor, weight: wq }], wide, [null], true).lowering.body;
    };
    const most = Math.floor((2 ** 31 - 1) / (128 * 255));
    expect(lower(most)).toMatchObject({ family: 'conv', params: { inC: most } });
    expect(() => lower(most + 1)).toThrowError(coded('E602'));
  });

  it('gives codes from float inputs, and takes float inputs beside quantised weights at their real values', () => {
    const { x: xs, w: ws, attrs } = cases[1];
    const [x, w] = [normal(xs, 1), normal(ws, 2)];
    const wq = weightParams(w, 3, true);
    const [y] = evaluateOp('conv', [x, rounded(w, wq)], attrs);
    expect(runLowered('conv', [{ tensor: x }, { tensor: w, weight: wq }], attrs)[0]).toEqual(y);
    expect(toNumbers(runLowered('conv', [{ tensor: x }, { tensor: w, weight: wq }], attrs, [yq])[0])).toEqual(toNumbers(codesOf(y, yq)));
  });
});

describe('conv refuses', () => {
  const f32 = (...shape: number[]): { dtype: 'f32'; shape: number[] } => ({ dtype: 'f32', shape });
  const op = getOp('conv');
  it.each([
    ['another number of channels', [f32(1, 3, 4, 4), f32(2, 2, 3, 3)], plain],
    ['outputs that groups do not divide', [f32(1, 4, 4, 4), f32(3, 2, 1, 1)], { ...plain, group: 2 }],
    ['a window larger than the input', [f32(1, 2, 4, 4), f32(2, 2, 5, 1)], plain],
    ['attributes for other axes', [f32(1, 2, 4), f32(2, 2, 3)], plain],
    ['a bias of another size', [f32(1, 2, 4, 4), f32(2, 2, 1, 1), f32(3)], plain],
    ['rank 2', [f32(2, 4), f32(2, 4)], plain],
    ['integers', [{ dtype: 'i32', shape: [1, 2, 4, 4] }, { dtype: 'i32', shape: [2, 2, 1, 1] }], plain],
    ['mixed types', [f32(1, 2, 4, 4), { dtype: 'f64', shape: [2, 2, 1, 1] }], plain],
  ] as const)('%s', (_, ins, attrs) => {
    const diagnostic = expect.objectContaining({ node: 'node' }) as unknown;
    expect(() => op.infer(ins, attrs, 'node')).toThrowError(expect.objectContaining({ code: 'E204', diagnostic }));
  });

  it('keeps the strides of the evaluation apart from the data', () => {
    const x = allocate('f32', [1, 2, 2, 2]);
    for (let i = 0; i < 8; i++) setAt(x, i, i);
    const w = tensorOf('f32', [1, 2, 1, 1], [1, 10]);
    expect(toNumbers(evaluateOp('conv', [x, w], plain)[0])).toEqual([40, 51, 62, 73]);
    expect(toNumbers(x)).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
  });
});
