import { tensorOf } from '@bitloom/tensor';
import { describe, expect, it } from 'vitest';
import { bitDifference, difference, toleranceOf } from './compare.js';
import { disagreements } from './exclusions.js';

describe('exclusions', () => {
  const list = [{ cases: /^conv/, reason: 'slow' }, { cases: /^gone$/, reason: 'old' }];
  it('names surprising failures, surprising passes and entries without a case', () => {
    expect(disagreements(list, new Map([['conv_a', 'wrong'], ['relu', null], ['gone', 'wrong']]))).toEqual([]);
    expect(disagreements(list, new Map([['conv_a', 'wrong'], ['conv_b', null], ['relu', 'NaN']]))).toEqual([
      'conv_b passes: take it off the list (slow)', 'relu: NaN', '/^gone$/ (old) fits no case',
    ]);
  });
});

describe('comparisons', () => {
  const f = (...v: number[]) => tensorOf('f32', [v.length], v);
  it('tolerate a thousandth of floats, nothing of integers', () => {
    const t = toleranceOf('add', 'f32');
    expect(difference(f(100.09, NaN, Infinity, 0), f(100, NaN, Infinity, -0), t)).toBeNull();
    expect(difference(f(100.11), f(100), t)).toMatch(/element 0/);
    for (const [a, b] of [[NaN, 0], [0, NaN], [Infinity, -Infinity], [1, Infinity], [Infinity, 1]]) {
      expect(difference(f(a), f(b), t), `${a} ${b}`).not.toBeNull();
    }
    const i = (v: bigint) => tensorOf('i64', [1], [v]);
    expect(difference(i(2n ** 60n), i(2n ** 60n + 1n), toleranceOf('add', 'i64'))).not.toBeNull();
    expect(difference(f(1), tensorOf('f32', [1, 1], [1]), t)).toMatch(/instead of f32\[1,1\]/);
  });

  it('see every bit but payloads of NaN', () => {
    expect(bitDifference(f(0), f(-0))).not.toBeNull();
    expect(bitDifference(f(1), f(1 + 2 ** -23))).not.toBeNull();
    expect(bitDifference(f(NaN, 1), f(NaN, 1))).toBeNull();
  });
});
