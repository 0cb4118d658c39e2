/** Cheaper arithmetic, exact in floating point. */
import type { Rule } from '@bitloom/ir';
import { type Tensor, getAt, isFloat } from '@bitloom/tensor';
import { rounded, sameType, transposedMatrix, uniformOf } from './util.js';

/** Reciprocals of a constant, if all are exact: powers of two within the exponent range of f32. */
function exactReciprocals(t: Tensor | null): Tensor | null {
  if (!t || !isFloat(t.dtype)) return null;
  const values = Float64Array.from({ length: t.data.length }, (_, i) => 1 / getAt(t, i));
  const exact = values.every((r) => Math.abs(r) >= 2 ** -126 && Math.abs(r) <= 2 ** 126 && Number.isInteger(Math.log2(Math.abs(r))));
  return exact ? rounded(t.dtype, t.shape, values) : null;
}

/** x / c = x · (1/c) where every c is a power of two */
const divideByPowers: Rule = {
  name: 'divide-by-powers',
  equation: 'x / 2ᵏ = x · 2⁻ᵏ',
  ops: ['div'],
  apply(ctx, n) {
    const r = exactReciprocals(ctx.constantOf(n.inputs[1]));
    return r && ctx.add('mul', [n.inputs[0], ctx.const(r, ctx.valueOf(n.inputs[1]).name)]);
  },
};

/** x² = x · x */
const square: Rule = {
  name: 'square',
  equation: 'x² = x · x',
  ops: ['pow'],
  apply(ctx, n) {
    const [x, k] = n.inputs;
    return uniformOf(ctx.constantOf(k)) === 2 && sameType(ctx, x, n.outputs[0]) ? ctx.add('mul', [x, x]) : null;
  },
};

/** x · W = linear(x, Wᵀ) for a constant matrix W */
const matmulToLinear: Rule = {
  name: 'matmul-to-linear',
  equation: 'x · W = linear(x, Wᵀ)',
  ops: ['matmul'],
  apply(ctx, n) {
    const [x, w] = n.inputs;
    const data = ctx.constantOf(w);
    if (!data || !isFloat(data.dtype) || data.shape.length > ctx.shapeOf(x).length) return null;
    const [k, outs] = data.shape.slice(-2);
    if (data.shape.slice(0, -2).some((d) => d !== 1)) return null;
    return ctx.add('linear', [x, ctx.const(transposedMatrix(data, k, outs), ctx.valueOf(w).name)]);
  },
};

export const arithmeticRules: readonly Rule[] = [divideByPowers, square, matmulToLinear];
