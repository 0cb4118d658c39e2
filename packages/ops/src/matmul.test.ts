import { describe, expect, it } from 'vitest';
import { getAt, toNumbers } from '@bitloom/tensor';
import { checkGradient } from './gradients.test.util.js';
import { activationParams, coded, codesOf, evaluateOp, integers, normal, rounded, runLowered } from './lowered.test.util.js';
import { getOp } from './registry.js';

describe('matmul', () => {
  it.each([
    [[2, 3], [3, 4]], [[5, 2, 3], [5, 3, 4]], [[2, 3], [5, 3, 1]], [[4, 1, 2, 3], [5, 3, 2]], [[1, 1, 1], [2, 1, 1]], [[2, 0], [0, 3]],
  ])('%j × %j', (as, bs) => {
    for (const dtype of ['f32', 'i32', 'i64'] as const) {
      const [a, b] = [integers(as, 1, dtype), integers(bs, 2, dtype)];
      const [y] = evaluateOp('matmul', [a, b], {});
      const batch = y.shape.slice(0, -2);
      const [m, k, n] = [as.at(-2)!, as.at(-1)!, bs.at(-1)!];
      const source = (shape: readonly number[], index: number): number => {
        let rest = index;
        const at = batch.toReversed().map((d) => {
          const v = rest % d;
          rest = Math.floor(rest / d);
          return v;
        }).reverse();
        const lead = shape.slice(0, -2);
        return lead.reduce((s, d, i) => s * d + (d === 1 ? 0 : at[i + batch.length - lead.length]), 0);
      };
      const expected: number[] = [];
      for (let p = 0; p < batch.reduce((s, d) => s * d, 1); p++) for (let i = 0; i < m; i++) for (let j = 0; j < n; j++) {
        let sum = 0;
        for (let l = 0; l < k; l++) sum += getAt(a, (source(as, p) * m + i) * k + l) * getAt(b, (source(bs, p) * k + l) * n + j);
        expected.push(sum);
      }
      expect(toNumbers(y)).toEqual(expected);
    }
  });

  it('reads and writes codes', () => {
    const [a, b] = [normal([2, 3, 4], 1), normal([4, 3], 2)];
    const [aq, yq] = [activationParams(8, 0.03, 100), activationParams(8, 0.1, 128)];
    const [y] = evaluateOp('matmul', [rounded(a, aq), b], {});
    expect(toNumbers(runLowered('matmul', [{ tensor: a, quant: aq }, { tensor: b }], {}, [yq], false)[0])).toEqual(toNumbers(codesOf(y, yq)));
    expect(runLowered('matmul', [{ tensor: a, quant: aq }, { tensor: b }], {}, [], false)[0]).toEqual(y);
  });

  it('has gradients of first and second order, summed over broadcast axes', () => {
    checkGradient((g, ids) => [g.add('matmul', ids)], [normal([2, 3], 1), normal([3, 4], 2)], { step: 1 / 8 });
    checkGradient((g, ids) => [g.add('matmul', ids)], [normal([4, 1, 2, 3], 1), normal([2, 3, 2], 2)], { step: 1 / 8 });
  });

  it('refuses operands that do not fit', () => {
    const f32 = (...shape: number[]): { dtype: 'f32'; shape: number[] } => ({ dtype: 'f32', shape });
    for (const ins of [[f32(2, 3), f32(2, 3)], [f32(3), f32(3, 2)], [f32(2, 2, 3), f32(3, 3, 2)]]) {
      expect(() => getOp('matmul').infer(ins, {}, 'node')).toThrowError(coded('E204'));
    }
  });
});
