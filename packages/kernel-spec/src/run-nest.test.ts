import { describe, expect, it } from 'vitest';
import { NestBuilder, type View, e, runNest } from './index.js';

const view = (operand: number, dtype: View['dtype'], shape: number[], strides: number[]): View => ({ operand, dtype, shape, strides, quant: null });

describe('runNest', () => {
  it('adds with broadcasting', () => {
    const b = new NestBuilder([{ dtype: 'f32', elements: 6 }, { dtype: 'f32', elements: 3 }, { dtype: 'f32', elements: 6 }]);
    b.elementwise(view(2, 'f32', [2, 3], [3, 1]), [view(0, 'f32', [2, 3], [1, 2]), view(1, 'f32', [3], [1])], ([x, y]) => e.add(x, y));
    const out = new Float32Array(6);
    runNest(b.build(), [Float32Array.of(1, 2, 3, 4, 5, 6), Float32Array.of(10, 20, 30), out]);
    expect([...out]).toEqual([11, 23, 35, 12, 24, 36]);
  });
});
