import { describe, expect, it } from 'vitest';
import { type QuantParams, quantize, quantizeValue, requantize } from '@bitloom/numerics';
import { getAt, tensorOf, toNumbers } from '@bitloom/tensor';
import { checkGradient } from './gradients.test.util.js';
import { activationParams, coded, distance, evaluateOp, lowerOp, normal, rounded, runLowered } from './lowered.test.util.js';
import { getOp } from './registry.js';

describe('linear', () => {
  it('is x·wᵀ + b', () => {
    const x = tensorOf('f32', [2, 3], [1, 2, 3, 4, 5, 6]);
    const w = tensorOf('f32', [2, 3], [1, 0, -1, 2, 1, 0]);
    expect(toNumbers(evaluateOp('linear', [x, w, tensorOf('f32', [2], [10, 20])], {})[0])).toEqual([8, 24, 8, 33]);
    expect(toNumbers(evaluateOp('linear', [x, w], { activation: { min: 0, max: 10 } })[0])).toEqual([0, 4, 0, 10]);
    expect(toNumbers(evaluateOp('linear', [tensorOf('f64', [3], [1, 2, 3]), tensorOf('f64', [2, 3], w.data)], {})[0])).toEqual([-2, 4]);
  });

  it.each([[[7]], [[4, 7]], [[2, 3, 2, 7]]])('of x %j lowers to a 1×1 convolution with the same values', (shape) => {
    const ins = [normal(shape, 1), normal([5, 7], 2), normal([5], 3)];
    const [y] = evaluateOp('linear', ins, {});
    const constant = ins.map((tensor, i) => ({ tensor, constant: i > 0 }));
    const { lowering } = lowerOp('linear', constant, {}, [], false);
    expect(lowering.body).toMatchObject({ family: 'conv', params: { inH: 1, inW: y.data.length / 5, inC: 7, outC: 5, kH: 1, kW: 1 } });
    expect(runLowered('linear', constant, {}, [], false)[0]).toEqual(y);
    expect(runLowered('linear', ins.map((tensor) => ({ tensor })), {}, [], false)[0]).toEqual(y);
  });

  it('multiplies integers and rescales them as specified', () => {
    const [x, w, b] = [normal([4, 9], 4), normal([3, 9], 5), normal([3], 6)];
    const [xq, yq] = [activationParams(8, 0.03, 130), activationParams(6, 0.3, 20)];
    const wq: QuantParams = { scheme: { bits: 4, signed: true, axis: 0 }, scale: Float32Array.of(0.3, 0.4, 0.5), zeroPoint: new Int32Array(3) };
    const ins = [{ tensor: x, quant: xq }, { tensor: w, weight: wq }, { tensor: b, constant: true }];
    const attrs = { activation: { min: 0, max: Infinity } };
    const [xv, wv] = [quantize(x.data as Float32Array, x.shape, xq), quantize(w.data as Float32Array, w.shape, wq)];
    const zero = quantizeValue(0, yq.scale[0], yq.zeroPoint[0], yq.scheme);
    const exact = Array.from({ length: 12 }, (_, i) => {
      const [row, o] = [Math.floor(i / 3), i % 3];
      let acc = 0;
      for (let k = 0; k < 9; k++) acc += wv[o * 9 + k] * (xv[row * 9 + k] - 130);
      return requantize(acc, Math.fround((xq.scale[0] * wq.scale[o]) / yq.scale[0]), Math.fround(getAt(b, o) / yq.scale[0] + 20), zero, 63);
    });
    expect(toNumbers(runLowered('linear', ins, attrs, [yq], false)[0])).toEqual(exact);
    expect(new Set(exact).size).toBeGreaterThan(4);
    const [float] = evaluateOp('linear', [rounded(x, xq), rounded(w, wq), b], attrs);
    expect(distance(runLowered('linear', ins, attrs, [null], false)[0], float)).toBeLessThan(1e-4);
  });

  it('has gradients of first and second order', () => {
    checkGradient((b, ids) => [b.add('linear', ids)], [normal([2, 3, 4], 1), normal([5, 4], 2), normal([5], 3)], { step: 1 / 8 });
    checkGradient((b, ids) => [b.add('linear', ids)], [normal([4], 1), normal([5, 4], 2)], { step: 1 / 8 });
  });

  it('refuses operands that do not fit', () => {
    const f32 = (...shape: number[]): { dtype: 'f32'; shape: number[] } => ({ dtype: 'f32', shape });
    for (const ins of [[f32(2, 3), f32(4, 2)], [f32(2, 3), f32(4, 3), f32(3)], [f32(), f32(4, 3)], [f32(2, 3), f32(3)], [f32(2, 3)]]) {
      expect(() => getOp('linear').infer(ins, {}, 'node')).toThrowError(coded('E204'));
    }
  });
});
