import { describe, expect, it } from 'vitest';
import { type DType, type Tensor, tensorOf, toNumbers } from '@bitloom/tensor';
import { createBuilder, getOp, OPS, opTable } from './registry.js';

const f = (shape: readonly number[], values: readonly number[]): Tensor => tensorOf('f32', shape, values);
const vec = (dtype: DType, ...values: (number | bigint)[]): Tensor => tensorOf(dtype, [values.length], values);
const run = (op: string, inputs: readonly Tensor[], attrs: unknown = {}): Tensor =>
  getOp(op).evaluate(inputs, attrs, opTable.infer(op, inputs, attrs, 'node'))[0];
const values = (op: string, inputs: readonly Tensor[], attrs: unknown = {}): number[] => toNumbers(run(op, inputs, attrs));
const bigs = (op: string, inputs: readonly Tensor[], attrs: unknown = {}): bigint[] => [...(run(op, inputs, attrs).data as BigUint64Array)];
const x234 = f([2, 3, 4], Array.from({ length: 24 }, (_, i) => i));

describe('elementwise', () => {
  it('elementary functions agree with double precision to a few units in the last place', () => {
    const reference: Readonly<Record<string, readonly [(x: number) => number, number[]]>> = {
      exp: [Math.exp, [-3, 0, 0.5, 20]], log: [Math.log, [0.1, 1, 7, 1e6]], sqrt: [Math.sqrt, [0, 2, 9]],
      sin: [Math.sin, [-2, 0, 1, 30]], cos: [Math.cos, [-2, 0, 1, 30]], tan: [Math.tan, [-1, 0, 1.2]],
      asin: [Math.asin, [-1, 0.3, 1]], acos: [Math.acos, [-1, 0.3, 0.9]], atan: [Math.atan, [-9, 0.2, 3]],
      sinh: [Math.sinh, [-3, 0.1, 4]], cosh: [Math.cosh, [-3, 0.1, 4]], tanh: [Math.tanh, [-9, 0.1, 0.7]],
      asinh: [Math.asinh, [-3, 0.1, 40]], acosh: [Math.acosh, [1, 1.5, 40]], atanh: [Math.atanh, [-0.9, 0.1, 0.5]],
      sigmoid: [(x) => 1 / (1 + Math.exp(-x)), [-30, -1, 0, 5]],
      floor: [Math.floor, [-1.5, 2.7]], ceil: [Math.ceil, [-1.5, 2.2]], neg: [(x) => -x, [1, -2]], abs: [Math.abs, [-3, 4]],
    };
    for (const [op, [exact, at]] of Object.entries(reference)) {
      const x = vec('f32', ...at);
      values(op, [x]).forEach((y, i) => {
        const want = exact(Number(x.data[i]));
        expect(Math.abs(y - want), `${op}(${at[i]}) = ${y}, not ${want}`).toBeLessThanOrEqual(5e-7 * Math.abs(want) + 1e-8);
      });
    }
    expect(values('erf', [vec('f32', -1, 0, 0.5)]).map((y) => y.toFixed(6))).toEqual(['-0.842701', '0.000000', '0.520500']);
  });

  it('f64 computes elementary functions through f32, all else in double', () => {
    expect(values('exp', [vec('f64', 1)])[0]).toBeCloseTo(Math.E, 6);
    expect(values('add', [vec('f64', 1), vec('f64', 2 ** -40)])).toEqual([1 + 2 ** -40]);
  });

  it('handles NaN, infinities and ties', () => {
    const x = vec('f32', NaN, -Infinity, Infinity, 0.5, 1.5, -2.5);
    expect(values('round', [x])).toEqual([NaN, -Infinity, Infinity, 0, 2, -2]);
    expect(values('relu', [x])).toEqual([NaN, 0, Infinity, 0.5, 1.5, 0]);
    expect(values('sign', [x])).toEqual([NaN, -1, 1, 1, 1, -1]);
    expect(values('isnan', [x])).toEqual([1, 0, 0, 0, 0, 0]);
    expect(values('isinf', [x], { negative: true, positive: false })).toEqual([0, 1, 0, 0, 0, 0]);
    expect(values('isinf', [x], { negative: true, positive: true })).toEqual([0, 1, 1, 0, 0, 0]);
    expect(values('clip', [x], { min: -1, max: 1 })).toEqual([NaN, -1, 1, 0.5, 1, -1]);
    expect(values('max', [x, f([], [1])])).toEqual([NaN, 1, Infinity, 1, 1.5, 1]);
    expect(values('min', [f([], [NaN]), x])).toEqual(new Array(6).fill(NaN));
    expect(values('less', [x, f([], [1])])).toEqual([0, 1, 0, 1, 0, 1]);
    expect(values('less_equal', [f([], [1.5]), x])).toEqual([0, 0, 1, 0, 1, 0]);
    expect(values('equal', [x, x])).toEqual([0, 1, 1, 1, 1, 1]);
  });

  it('integers wrap at their own width', () => {
    expect(values('add', [vec('u8', 250), vec('u8', 10)])).toEqual([4]);
    expect(values('sub', [vec('u8', 3), vec('u8', 5)])).toEqual([254]);
    expect(values('mul', [vec('i8', 100), vec('i8', 3)])).toEqual([44]);
    expect(values('neg', [vec('i8', -128, 5)])).toEqual([-128, -5]);
    expect(values('add', [vec('u32', 2 ** 32 - 1), vec('u32', 2)])).toEqual([1]);
    expect(values('bitnot', [vec('u8', 5)])).toEqual([250]);
    expect(values('bitnot', [vec('u32', 0)])).toEqual([2 ** 32 - 1]);
    expect(values('shift', [vec('u8', 16, 255), vec('u8', 1, 3)], { right: false })).toEqual([32, 248]);
    expect(values('shift', [vec('u32', 2 ** 31), vec('u32', 31)], { right: true })).toEqual([1]);
    expect(values('abs', [vec('u8', 200)])).toEqual([200]);
    expect(values('sign', [vec('u8', 200, 0)])).toEqual([1, 0]);
  });

  it('u64 is unsigned throughout', () => {
    const [small, huge, top] = [3n, 2n ** 63n + 5n, 2n ** 64n - 1n];
    const a = vec('u64', small, huge, top, top);
    const b = vec('u64', huge, 2n, 10n, huge);
    expect(values('less', [a, b])).toEqual([1, 0, 0, 0]);
    expect(values('less_equal', [b, a])).toEqual([0, 1, 1, 1]);
    expect(bigs('max', [a, b])).toEqual([huge, huge, top, top]);
    expect(bigs('min', [a, b])).toEqual([small, 2n, 10n, huge]);
    expect(bigs('div', [a, b])).toEqual([0n, huge / 2n, top / 10n, 1n]);
    expect(bigs('mod', [a, b], { fmod: false })).toEqual([small, huge % 2n, top % 10n, top % huge]);
    expect(bigs('div', [a, vec('u64', 0n)])).toEqual([0n, 0n, 0n, 0n]);
    expect(bigs('reduce_max', [a], { axes: [0], keepdims: false })).toEqual([top]);
    expect(bigs('reduce_min', [a], { axes: [0], keepdims: false })).toEqual([small]);
    expect(bigs('clip', [a], { min: 5, max: Infinity })).toEqual([5n, huge, top, top]);
    expect(values('cast', [a], { to: 'f64' })).toEqual([3, 2 ** 63, 2 ** 64, 2 ** 64]);
    expect(values('arg_max', [a], { axis: 0, keepdims: false, last: false })).toEqual([2]);
  });

  it('division, remainder and powers follow numpy', () => {
    const [a, b] = [vec('i32', 7, -7, 7, -7, 5), vec('i32', 3, 3, -3, -3, 0)];
    expect(values('div', [a, b])).toEqual([2, -2, -2, 2, 0]);
    expect(values('mod', [a, b], { fmod: true })).toEqual([1, -1, 1, -1, 0]);
    expect(values('mod', [a, b], { fmod: false })).toEqual([1, 2, -2, -1, 0]);
    expect(values('mod', [vec('f32', 5.5, -5.5, 3), vec('f32', 2, 2, Infinity)], { fmod: true })).toEqual([1.5, -1.5, 3]);
    expect(values('mod', [vec('f32', 5.5, -5.5), vec('f32', 2, 2)], { fmod: false })).toEqual([1.5, 0.5]);
    const powers = values('pow', [vec('f32', 2, -2, 9, 0), vec('f32', 3, 3, 0.5, 0)]);
    expect(powers.map((v) => v.toPrecision(6))).toEqual(['8.00000', '-8.00000', '3.00000', '1.00000']);
    expect(values('pow', [vec('i64', 3, -3, 2, -1, 5), vec('i64', 5, 3, 40, -3, -2)])).toEqual([243, -27, 2 ** 40, -1, 0]);
    expect(values('pow', [vec('i32', 1, 2, 3), vec('i32', 4, 5, 6)])).toEqual([1, 32, 729]);
  });

  it('casts truncate and saturate from floats, wrap from integers', () => {
    const x = vec('f32', 1.9, -1.9, NaN, 300, -300, 1e20, -1e20);
    expect(values('cast', [x], { to: 'i32' })).toEqual([1, -1, 0, 300, -300, 2 ** 31 - 1, -(2 ** 31)]);
    expect(values('cast', [x], { to: 'i8' })).toEqual([1, -1, 0, 127, -128, 127, -128]);
    expect(values('cast', [x], { to: 'u8' })).toEqual([1, 0, 0, 255, 0, 255, 0]);
    expect(values('cast', [x], { to: 'u32' })).toEqual([1, 0, 0, 300, 0, 2 ** 32 - 1, 0]);
    expect(bigs('cast', [vec('f32', 1.9, -1, NaN, 1e19, 1e30)], { to: 'u64' })).toEqual([1n, 0n, 0n, BigInt(Math.fround(1e19)), 2n ** 64n - 1n]);
    expect(values('cast', [x], { to: 'bool' })).toEqual([1, 1, 1, 1, 1, 1, 1]);
    expect(values('cast', [vec('i64', 257, -1, 2n ** 40n)], { to: 'u8' })).toEqual([1, 255, 0]);
    expect(values('cast', [vec('i64', 0, 2n ** 40n)], { to: 'bool' })).toEqual([0, 1]);
    expect(values('cast', [vec('bool', 0, 1)], { to: 'f32' })).toEqual([0, 1]);
  });

  it('clips integers to the integers within the bounds', () => {
    expect(values('clip', [vec('i8', -100, 0, 100)], { min: -1.5, max: 2.5 })).toEqual([-1, 0, 2]);
    expect(values('clip', [vec('u8', 0, 200)], { min: -Infinity, max: 1000 })).toEqual([0, 200]);
  });

  it('broadcasts and selects', () => {
    expect(values('mul', [f([2, 1], [1, 2]), f([3], [1, 10, 100])])).toEqual([1, 10, 100, 2, 20, 200]);
    expect(values('select', [tensorOf('bool', [2, 1], [1, 0]), f([3], [1, 2, 3]), f([], [9])])).toEqual([1, 2, 3, 9, 9, 9]);
    expect(values('and', [vec('bool', 0, 1, 1), vec('bool', 1, 1, 0)])).toEqual([0, 1, 0]);
    expect(values('xor', [vec('u8', 5), vec('u8', 3)])).toEqual([6]);
    expect(values('not', [vec('bool', 0, 1)])).toEqual([1, 0]);
    expect(run('add', [f([0, 3], []), f([3], [1, 2, 3])]).shape).toEqual([0, 3]);
  });
});

describe('reductions and scans', () => {
  it('reduce any axes, empty ones to the neutral element', () => {
    expect(values('reduce_sum', [x234], { axes: [1], keepdims: false })).toEqual([12, 15, 18, 21, 48, 51, 54, 57]);
    expect(values('reduce_max', [x234], { axes: [0, 2], keepdims: false })).toEqual([15, 19, 23]);
    expect(run('reduce_min', [x234], { axes: [0, 1, 2], keepdims: true })).toEqual(f([1, 1, 1], [0]));
    expect(values('reduce_prod', [vec('i32', 2, 3, 7)], { axes: [0], keepdims: false })).toEqual([42]);
    const empty = f([2, 0], []);
    expect(values('reduce_sum', [empty], { axes: [1], keepdims: false })).toEqual([0, 0]);
    expect(values('reduce_max', [empty], { axes: [1], keepdims: false })).toEqual([-Infinity, -Infinity]);
    expect(values('reduce_min', [tensorOf('i8', [0], [])], { axes: [0], keepdims: false })).toEqual([127]);
    expect(values('reduce_prod', [empty], { axes: [1], keepdims: false })).toEqual([1, 1]);
    expect(values('reduce_max', [vec('f32', 1, NaN, 2)], { axes: [0], keepdims: false })).toEqual([NaN]);
    expect(values('reduce_max', [vec('bool', 0, 1)], { axes: [0], keepdims: false })).toEqual([1]);
  });

  it('find extrema, the first or the last', () => {
    const x = f([2, 4], [1, 3, 3, 0, 5, 5, 5, 6]);
    expect(run('arg_max', [x], { axis: 1, keepdims: true, last: false })).toEqual(tensorOf('i64', [2, 1], [1, 3]));
    expect(values('arg_max', [x], { axis: 1, keepdims: false, last: true })).toEqual([2, 3]);
    expect(values('arg_min', [x], { axis: 1, keepdims: false, last: false })).toEqual([3, 0]);
    expect(values('arg_min', [x], { axis: 1, keepdims: false, last: true })).toEqual([3, 2]);
  });

  it('softmax is shift-invariant and sums to one', () => {
    const y = values('softmax', [f([2, 3], [1000, 1001, 1002, 0, 1, 2])], { axis: 1 });
    const want = [0, 1, 2].map((v) => Math.exp(v) / (1 + Math.E + Math.E ** 2));
    [...want, ...want].forEach((w, i) => expect(y[i]).toBeCloseTo(w, 6));
    values('log_softmax', [f([2, 3], [1000, 1001, 1002, 0, 1, 2])], { axis: 1 }).forEach((v, i) => expect(v).toBeCloseTo(Math.log(want[i % 3]), 5));
  });

  it('cumsum in all four directions', () => {
    const x = vec('i32', 1, 2, 3);
    const sums = (exclusive: boolean, reverse: boolean): number[] => values('cumsum', [x], { axis: 0, exclusive, reverse });
    expect([sums(false, false), sums(true, false), sums(false, true), sums(true, true)]).toEqual([[1, 3, 6], [0, 1, 3], [6, 5, 3], [5, 3, 0]]);
  });
});

describe('movement', () => {
  it('reshape, transpose, expand, slice, concat', () => {
    expect(run('reshape', [x234], { shape: [4, 6] })).toEqual(f([4, 6], toNumbers(x234)));
    expect(run('transpose', [f([2, 3], [0, 1, 2, 3, 4, 5])], { perm: [1, 0] })).toEqual(f([3, 2], [0, 3, 1, 4, 2, 5]));
    expect(run('expand', [f([2, 1], [7, 8])], { shape: [2, 2, 2] })).toEqual(f([2, 2, 2], [7, 7, 8, 8, 7, 7, 8, 8]));
    expect(values('slice', [x234], { starts: [1, 2, 0], steps: [1, -2, 3], sizes: [1, 2, 2] })).toEqual([20, 23, 12, 15]);
    expect(values('concat', [f([1, 2], [1, 2]), f([1, 1], [3])], { axis: 1 })).toEqual([1, 2, 3]);
  });

  it('pads in every mode, further than the axis is long', () => {
    const padded = (mode: string, before: number, after: number, ...x: number[]): number[] =>
      values('pad', [vec('f32', ...x)], { pads: [before, after], mode, value: 9 });
    expect(padded('constant', 1, 2, 1, 2)).toEqual([9, 1, 2, 9, 9]);
    expect(padded('edge', 2, 1, 1, 2)).toEqual([1, 1, 1, 2, 2]);
    expect(padded('reflect', 2, 2, 1, 2, 3)).toEqual([3, 2, 1, 2, 3, 2, 1]);
    expect(padded('reflect', 5, 0, 1, 2, 3)).toEqual([2, 1, 2, 3, 2, 1, 2, 3]);
    expect(padded('reflect', 1, 1, 4)).toEqual([4, 4, 4]);
    expect(padded('wrap', 4, 2, 1, 2, 3)).toEqual([3, 1, 2, 3, 1, 2, 3, 1, 2]);
  });

  it('gathers and scatters; negative indices wrap, indices out of range stay inside', () => {
    const i = (shape: readonly number[], v: readonly number[]): Tensor => tensorOf('i64', shape, v);
    const x = f([3, 2], [0, 1, 10, 11, 20, 21]);
    expect(run('gather', [x, i([1, 2], [-1, 0])], { axis: 0 })).toEqual(f([1, 2, 2], [20, 21, 0, 1]));
    expect(values('gather', [x, i([2], [99, -99])], { axis: 0 })).toEqual([20, 21, 0, 1]);
    expect(values('gather_elements', [x, i([1, 2], [2, -2])], { axis: 0 })).toEqual([20, 11]);
    expect(values('gather_nd', [x, i([2, 2], [0, 1, -1, 0])], { batchDims: 0 })).toEqual([1, 20]);
    expect(run('gather_nd', [x, i([3, 1], [1, 0, 1])], { batchDims: 1 })).toEqual(f([3], [1, 10, 21]));
    const scatter = (reduction: string): number[] =>
      values('scatter_elements', [x, i([2, 2], [0, 1, 0, -1]), f([2, 2], [5, 6, 7, 8])], { axis: 0, reduction });
    expect(scatter('none')).toEqual([7, 1, 10, 6, 20, 8]);
    expect(scatter('add')).toEqual([12, 1, 10, 17, 20, 29]);
    expect(scatter('mul')).toEqual([0, 1, 10, 66, 20, 168]);
    expect(scatter('max')).toEqual([7, 1, 10, 11, 20, 21]);
    expect(scatter('min')).toEqual([0, 1, 10, 6, 20, 8]);
    expect(values('scatter_nd', [x, i([2, 1], [2, 2]), f([2, 2], [1, 2, 3, 4])], { reduction: 'add' })).toEqual([0, 1, 10, 11, 24, 27]);
    expect(values('scatter_nd', [x, i([1, 1], [1000]), f([1, 2], [1, 2])], { reduction: 'none' })).toEqual([0, 1, 10, 11, 1, 2]);
  });
});

describe('registry', () => {
  it('every op has a name and says what it computes', () => {
    for (const [name, op] of OPS) {
      expect(op.name).toBe(name);
      expect(name).toMatch(/^[a-z][a-z_0-9]*$/);
      expect(op.summary.length, name).toBeGreaterThan(1);
    }
  });

  it('every op refuses unknown attributes', () => {
    for (const [name] of OPS) {
      expect(() => createBuilder('g').add(name, [], { frob: 1 }), name).toThrowError(expect.objectContaining({ code: 'E402' }));
    }
  });

  it.each([
    ['add', [vec('f32', 1), vec('i32', 1)], {}],
    ['add', [vec('bool', 1), vec('bool', 1)], {}],
    ['add', [vec('f32', 1, 2), vec('f32', 1, 2, 3)], {}],
    ['exp', [vec('i32', 1)], {}], ['neg', [vec('u8', 1)], {}], ['not', [vec('u8', 1)], {}], ['and', [vec('f32', 1), vec('f32', 1)], {}],
    ['select', [vec('f32', 1), vec('f32', 1), vec('f32', 1)], {}], ['reduce_sum', [x234], { axes: [3], keepdims: true }],
    ['reduce_sum', [x234], { axes: [1, 1], keepdims: true }], ['reduce_sum', [x234], { axes: [], keepdims: true }],
    ['arg_max', [f([2, 0], [])], { axis: 1, keepdims: true, last: false }], ['softmax', [x234], { axis: 3 }],
    ['reshape', [x234], { shape: [5, 5] }],
    ['transpose', [x234], { perm: [0, 1, 1] }],
    ['expand', [x234], { shape: [2, 3, 5] }],
    ['expand', [x234], { shape: [4] }],
    ['slice', [x234], { starts: [0, 0, 0], steps: [1, 1, 1], sizes: [2, 3, 5] }],
    ['slice', [x234], { starts: [0, 0, 0], steps: [1, 1, -1], sizes: [2, 3, 2] }],
    ['slice', [x234], { starts: [0], steps: [1], sizes: [2] }],
    ['concat', [x234, f([2, 3], [0, 0, 0, 0, 0, 0])], { axis: 0 }],
    ['concat', [x234], { axis: 3 }],
    ['pad', [x234], { pads: [1], mode: 'edge', value: 0 }], ['pad', [f([0], [])], { pads: [1, 1], mode: 'edge', value: 0 }],
    ['gather', [x234, vec('f32', 1)], { axis: 0 }], ['gather', [f([0], []), vec('i64', 0)], { axis: 0 }],
    ['gather_elements', [x234, vec('i64', 1)], { axis: 0 }], ['gather_nd', [x234, tensorOf('i64', [1, 4], [0, 0, 0, 0])], { batchDims: 0 }],
    ['scatter_elements', [x234, tensorOf('i64', [1, 1, 1], [0]), f([1, 1, 2], [0, 0])], { axis: 0, reduction: 'none' }],
    ['scatter_nd', [x234, tensorOf('i64', [1, 1], [0]), f([1], [0])], { reduction: 'none' }],
  ] as const)('%s refuses operands that do not fit (%#)', (op, inputs, attrs) => {
    expect(() => run(op, inputs, attrs)).toThrowError(expect.objectContaining({ code: 'E204' }));
  });

  it('refuses results that are too large before anything is allocated', () => {
    for (const [op, attrs] of [['expand', { shape: [2 ** 20, 2 ** 20] }], ['pad', { pads: [2 ** 40, 0], mode: 'constant', value: 0 }]] as const) {
      expect(() => run(op, [vec('f32', 1)], attrs)).toThrowError(expect.objectContaining({ code: 'E206' }));
    }
  });
});
