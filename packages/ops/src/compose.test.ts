import { describe, expect, it } from 'vitest';
import { type GraphBuilder, type ValueId } from '@bitloom/ir';
import { type Tensor, tensorOf } from '@bitloom/tensor';
import * as compose from './compose.js';
import { evaluateGraph } from './evaluate.js';
import { createBuilder } from './registry.js';

const f = (shape: readonly number[], values: readonly number[]): Tensor => tensorOf('f32', shape, values);
function run(x: Tensor, build: (b: GraphBuilder, x: ValueId) => ValueId): Tensor {
  const b = createBuilder('g');
  const y = build(b, b.const(x));
  return evaluateGraph(b.build([y]), new Map()).get(y)!;
}
const x23 = f([2, 3], [0, 1, 2, 3, 4, 5]);

describe('compose', () => {
  it('means, sums back to a broadcast shape, broadcasts', () => {
    expect(run(x23, (b, x) => compose.reduceMean(b, x, [1, 0], true))).toEqual(f([1, 1], [2.5]));
    expect(run(x23, (b, x) => compose.sumToShape(b, x, [3]))).toEqual(f([3], [3, 5, 7]));
    expect(run(x23, (b, x) => compose.sumToShape(b, x, [2, 1]))).toEqual(f([2, 1], [3, 12]));
    expect(run(x23, (b, x) => compose.sumToShape(b, x, []))).toEqual(f([], [15]));
    expect(run(f([1], [4]), (b, x) => compose.broadcastTo(b, x, [2, 2]))).toEqual(f([2, 2], [4, 4, 4, 4]));
  });

  it('slices, flips, pads, spaces out', () => {
    expect(run(x23, (b, x) => compose.sliceAxis(b, x, 1, 2, 2, -2))).toEqual(f([2, 2], [2, 0, 5, 3]));
    expect(run(x23, (b, x) => compose.flip(b, x, [0, 1]))).toEqual(f([2, 3], [5, 4, 3, 2, 1, 0]));
    expect(run(f([2], [1, 2]), (b, x) => compose.padWith(b, x, [1], [2], 7))).toEqual(f([5], [7, 1, 2, 7, 7]));
    expect(run(x23, (b, x) => compose.zeroInterleave(b, x, 1, 3))).toEqual(f([2, 7], [0, 0, 0, 1, 0, 0, 2, 3, 0, 0, 4, 0, 0, 5]));
    expect(run(x23, (b, x) => compose.scatterAddAxis(b, x, 1, compose.indexConst(b, [1, 0, 1]), 2))).toEqual(f([2, 2], [1, 2, 4, 8]));
  });

  it('adds no nodes where there is nothing to do', () => {
    const b = createBuilder('g');
    const x = b.input('x', { dtype: 'f32', shape: [2, 3] });
    const same = [
      compose.sumToShape(b, x, [2, 3]), compose.broadcastTo(b, x, [2, 3]), compose.reshapeTo(b, x, [2, 3]), compose.flip(b, x, []),
      compose.padWith(b, x, [0, 0], [0, 0]), compose.sliceAxis(b, x, 0, 0, 2), compose.transpose(b, x, [0, 1]), compose.castTo(b, x, 'f32'),
    ];
    expect(new Set(same)).toEqual(new Set([x]));
    expect(b.build([x]).nodes).toEqual([]);
  });
});
