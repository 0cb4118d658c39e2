import { describe, expect, it } from 'vitest';
import { tensorOf, toNumbers } from '@bitloom/tensor';
import { smooth, spread, title } from './cases.test.util.js';
import { evaluateGraph } from './evaluate.js';
import { checkGradient } from './gradients.test.util.js';
import { createBuilder, getOp, OPS } from './registry.js';

/** Ops with no gradient rule, and why. */
const NO_GRADIENT: Readonly<Record<string, string>> = {
  not: 'boolean', bitnot: 'integer', isnan: 'boolean result', isinf: 'boolean result', and: 'integer or boolean', or: 'integer or boolean',
  xor: 'integer or boolean', shift: 'integer', equal: 'boolean result', less: 'boolean result', less_equal: 'boolean result',
  arg_max: 'integer result', arg_min: 'integer result',
};
/** Float ops whose rule returns no cotangent: constant almost everywhere. */
const STEPS = ['floor', 'ceil', 'round', 'sign'];

describe('gradients', () => {
  it.each(smooth.map((c) => [title(c), c] as const))('%s equals finite differences, also differentiated twice', (_, c) => {
    checkGradient((b, xs) => b.addMany(c.op, xs, c.attrs), c.inputs);
  });

  it('works through a composition to third order', () => {
    const x = tensorOf('f32', [2, 3], [0.3, -0.8, 1.1, 0.6, -0.2, 0.9]);
    checkGradient((b, [v]) => [b.add('tanh', [b.add('mul', [b.add('softmax', [v], { axis: 1 }), b.add('sin', [v])])])], [x], { order: 3 });
  });

  it('covers powers of negative numbers', () => {
    checkGradient((b, [x]) => [2, 3].map((n) => b.add('pow', [x, b.const(tensorOf('f32', [], [n]))])), [spread([3, 4])]);
  });

  it('every op has a rule or a stated reason', () => {
    for (const [name, op] of OPS) expect(op.gradient === null, name).toBe(name in NO_GRADIENT);
  });

  it('steps pass no cotangent', () => {
    for (const op of STEPS) {
      const b = createBuilder('g');
      const x = b.input('x', { dtype: 'f32', shape: [2] });
      const y = b.add(op, [x]);
      expect(getOp(op).gradient!(b, { inputs: [x], outputs: [y], attrs: {}, cotangents: [y] })).toEqual([null]);
    }
  });

  /** Gradient of op at x, for a cotangent of ones. */
  const gradientAt = (op: string, attrs: unknown, values: readonly (readonly number[])[]): number[][] => {
    const b = createBuilder('g');
    const xs = values.map((v) => b.const(tensorOf('f32', [v.length], v)));
    const y = b.add(op, xs, attrs);
    const dy = b.const(tensorOf('f32', b.shapeOf(y), new Array<number>(b.shapeOf(y).reduce((p, d) => p * d, 1)).fill(1)));
    const ds = getOp(op).gradient!(b, { inputs: xs, outputs: [y], attrs, cotangents: [dy] });
    const results = evaluateGraph(b.build(ds.map((d) => d!)), new Map());
    return ds.map((d) => toNumbers(results.get(d!)!));
  };

  it('takes the documented subgradients at kinks and zeros', () => {
    expect(gradientAt('relu', {}, [[0]])).toEqual([[0]]);
    expect(gradientAt('abs', {}, [[0]])).toEqual([[0]]);
    expect(gradientAt('clip', { min: -1, max: 1 }, [[-1, 1, 2]])).toEqual([[1, 1, 0]]);
    expect(gradientAt('max', {}, [[1], [1]])).toEqual([[1], [0]]);
    expect(gradientAt('reduce_max', { axes: [0], keepdims: false }, [[2, 5, 5, 1]])).toEqual([[0, 0.5, 0.5, 0]]);
    expect(gradientAt('reduce_prod', { axes: [0], keepdims: false }, [[2, 0, 5]])).toEqual([[0, 10, 0]]);
    expect(gradientAt('reduce_prod', { axes: [0], keepdims: false }, [[0, 0, 5]])).toEqual([[0, 0, 0]]);
    expect(gradientAt('pow', {}, [[0, 0], [2, 0]])).toEqual([[0, 0], [0, 0]]);
  });
});
