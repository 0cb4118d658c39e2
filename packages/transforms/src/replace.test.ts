import { verifyGraph } from '@bitloom/ir';
import { createBuilder, evaluateGraph, opTable } from '@bitloom/ops';
import { tensorOf, toNumbers } from '@bitloom/tensor';
import { describe, expect, it } from 'vitest';
import { replaceConstants } from './index.js';

describe('replaceConstants', () => {
  it('replaces numbers one layer at a time, adds missing biases, and leaves ids alone that exist', () => {
    const b = createBuilder('ids');
    const x = b.input('x', { dtype: 'f32', shape: [1, 2] });
    const shared = b.const(tensorOf('f32', [2], [1, 2]), 'linear.bias');
    const w = b.const(tensorOf('f32', [2, 2], [1, 0, 0, 1]));
    b.origin = 'loop';
    const y = b.add('linear', [b.add('linear', [x, w, shared]), w]);
    const g = b.build([y, shared]);
    const h = replaceConstants(g, new Map([['loop', { bias: Float32Array.of(10, 20) }], ['loop#2', { bias: Float32Array.of(100, 200), weight: tensorOf('f32', [2, 2], [0, 1, 3, 0]) }], ['other', { bias: Float32Array.of(0) }]]));
    verifyGraph(h, opTable);
    const at = new Map([[x, tensorOf('f32', [1, 2], [1, 2])]]);
    expect([...evaluateGraph(h, at).values()].map(toNumbers)).toEqual([[122, 233], [1, 2]]);
    expect([...evaluateGraph(replaceConstants(g, new Map()), at).values()].map(toNumbers)).toEqual([[2, 4], [1, 2]]);
  });
});
