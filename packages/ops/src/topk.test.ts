import { describe, expect, it } from 'vitest';
import { type Tensor, getAt, tensorOf, toNumbers } from '@bitloom/tensor';
import { checkGradient } from './gradients.test.util.js';
import { activationParams, coded, evaluateOp, integers, normal, runLowered } from './lowered.test.util.js';
import { getOp } from './registry.js';

/** By sorting (stable), NaN last. */
function sorted(x: Tensor, axis: number, k: number, largest: boolean): { values: number[]; indices: number[] } {
  const outer = x.shape.slice(0, axis).reduce((p, d) => p * d, 1);
  const inner = x.shape.slice(axis + 1).reduce((p, d) => p * d, 1);
  const n = x.shape[axis];
  const at = (o: number, j: number, i: number): number => getAt(x, (o * n + j) * inner + i);
  const picks = Array.from({ length: outer * inner }, (_, r) => {
    const [o, i] = [Math.floor(r / inner), r % inner];
    const key = (j: number): number => (Number.isNaN(at(o, j, i)) ? -Infinity : (largest ? 1 : -1) * at(o, j, i));
    return Array.from({ length: n }, (_, j) => j).sort((p, q) => key(q) - key(p) || p - q).slice(0, k);
  });
  const order = Array.from({ length: outer * k * inner }, (_, r) => [Math.floor(r / (k * inner)), Math.floor(r / inner) % k, r % inner]);
  return {
    values: order.map(([o, j, i]) => at(o, picks[o * inner + i][j], i)),
    indices: order.map(([o, j, i]) => picks[o * inner + i][j]),
  };
}

describe('topk', () => {
  it.each([[[12], 0, 5], [[3, 20], 1, 7], [[4, 6, 3], 1, 6], [[5, 2], 0, 1], [[3, 2], 1, 0]])('of %j along %i, k = %i', (shape, axis, k) => {
    for (const dtype of ['f32', 'i32', 'i64', 'u8', 'f64'] as const) {
      const x = tensorOf(dtype, shape, toNumbers(integers(shape, 4)).map((v) => (dtype === 'u8' ? v + 7 : v)));
      for (const largest of [true, false]) {
        const [values, indices] = evaluateOp('topk', [x], { axis, k, largest, sorted: true });
        const expected = sorted(x, axis, k, largest);
        expect(toNumbers(values)).toEqual(expected.values);
        expect(indices.dtype).toBe('i64');
        expect(toNumbers(indices)).toEqual(expected.indices);
      }
    }
  });

  it('puts NaN after all numbers, infinities in their places', () => {
    const x = tensorOf('f32', [6], [NaN, -Infinity, 3, NaN, Infinity, -2]);
    const [values, indices] = evaluateOp('topk', [x], { axis: 0, k: 6, largest: true, sorted: true });
    expect(toNumbers(indices)).toEqual([4, 2, 5, 1, 0, 3]);
    expect(toNumbers(values)).toEqual([Infinity, 3, -2, -Infinity, NaN, NaN]);
    expect(toNumbers(evaluateOp('topk', [x], { axis: 0, k: 5, largest: false, sorted: false })[1])).toEqual([1, 5, 2, 4, 0]);
  });

  it('selects on codes', () => {
    const q = activationParams(8, 0.5, 10);
    const x = { tensor: tensorOf('f32', [4], [1, 7, -2, 3]), quant: q };
    const [codes, indices] = runLowered('topk', [x], { axis: 0, k: 2, largest: true, sorted: true }, [q, null]);
    expect([toNumbers(codes), toNumbers(indices)]).toEqual([[24, 16], [1, 3]]);
  });

  it('has gradients of first and second order', () => {
    const attrs = { axis: 1, k: 3, largest: true, sorted: true };
    checkGradient((b, [x]) => [b.addMany('topk', [b.add('mul', [x, x])], attrs)[0]], [normal([2, 7, 2], 2)], { step: 1 / 256, tolerance: 5e-3 });
  });

  it('refuses k beyond the axis', () => {
    const infer = (axis: number, k: number): unknown =>
      getOp('topk').infer([{ dtype: 'f32', shape: [2, 3] }], { axis, k, largest: true, sorted: true }, 'node');
    expect(() => infer(1, 4)).toThrowError(coded('E204'));
    expect(() => infer(2, 1)).toThrowError(coded('E204'));
  });
});
