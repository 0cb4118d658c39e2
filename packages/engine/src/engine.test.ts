/** Every op that can be exported gives on onnxruntime what the evaluator gives. */
import { BitloomError } from '@bitloom/diagnostics';
import type { Graph } from '@bitloom/ir';
import { EXPORTS, exportOnnx } from '@bitloom/onnx';
import { createBuilder, evaluateGraph } from '@bitloom/ops';
import { type DType, Rng, type Tensor, elementCount, isFloat, tensor, tensorOf, toNumbers } from '@bitloom/tensor';
import { describe, expect, it } from 'vitest';
import { compileGraph, openModel } from './index.js';

/**
 * Relative to the largest magnitude of the reference: sums in another order, and elementary functions of a few ulp on either side.
 * Integers and booleans are equal.
 */
const F32_TOLERANCE = 2e-6;

interface Case {
  readonly op: string;
  readonly attrs: unknown;
  readonly inputs: readonly Tensor[];
}

const rng = new Rng(11);
const uniform = (shape: readonly number[], lo = -2, hi = 2, dtype: DType = 'f32'): Tensor =>
  tensorOf(dtype, shape, Array.from({ length: elementCount(shape) }, () => lo + (hi - lo) * rng.uniform()));
const integers = (dtype: DType, shape: readonly number[], lo: number, hi: number): Tensor =>
  tensorOf(dtype, shape, Array.from({ length: elementCount(shape) }, () => lo + rng.int(hi - lo)));
const bools = (...shape: readonly number[]): Tensor => integers('bool', shape, 0, 2);
const index = (shape: readonly number[], values: readonly number[]): Tensor => tensorOf('i64', shape, values);
const f32 = (...values: number[]): Tensor => tensorOf('f32', [values.length], values);

const X = [2, 3, 6, 5];
const one = (op: string, attrs: unknown = {}, x: Tensor = uniform(X)): Case => ({ op, attrs, inputs: [x] });
const two = (op: string, a: Tensor = uniform(X), b: Tensor = uniform([3, 1, 5]), attrs: unknown = {}): Case => ({ op, attrs, inputs: [a, b] });

const conv = (over: object = {}): object => ({ strides: [1, 1], dilations: [1, 1], pads: [0, 0, 0, 0], group: 1, ...over });
const pool = (over: object = {}): object => ({ kernel: [3, 2], strides: [1, 1], pads: [0, 0, 0, 0], dilations: [1, 1], ceilExtra: [0, 0], ...over });
const resize = (over: object): object => ({
  sizes: [], scales: [], mode: 'linear', coordinates: 'half_pixel', nearest: 'round_prefer_floor', cubicA: -0.75, excludeOutside: false,
  antialias: false, roi: null, extrapolation: 0, ...over,
});
const special = f32(NaN, -Infinity, Infinity, 0, -0, 0.5, 1.5, 2.5, -0.5, -3.7);

const CASES: readonly Case[] = [
  ...['identity', 'requantize', 'neg', 'abs', 'exp', 'floor', 'ceil', 'round', 'sign', 'sin', 'cos', 'sinh', 'cosh', 'tanh', 'asinh', 'atan', 'erf',
    'sigmoid', 'relu', 'isnan']
    .flatMap((op) => [one(op), ...(['floor', 'ceil', 'round', 'abs', 'isnan'].includes(op) ? [one(op, {}, special)] : [])]),
  one('tan', {}, uniform(X, -1.2, 1.2)), one('asin', {}, uniform(X, -1, 1)), one('acos', {}, uniform(X, -1, 1)),
  one('atanh', {}, uniform(X, -0.9, 0.9)),
  one('acosh', {}, uniform(X, 1, 4)), one('log', {}, uniform(X, 0.01, 9)), one('sqrt', {}, uniform(X, 0, 9)),
  one('not', {}, bools(2, 5)), one('bitnot', {}, integers('u8', [7], 0, 256)),
  one('isinf', { negative: true, positive: false }, special), one('isinf', { negative: true, positive: true }, special),
  one('clip', { min: -1, max: 1.5 }), one('clip', { min: -Infinity, max: 0 }), one('clip', { min: 0, max: Infinity }),
  one('clip', { min: -3, max: 4 }, integers('i32', [9], -9, 9)),
  one('cast', { to: 'i32' }), one('cast', { to: 'i64' }), one('cast', { to: 'f64' }), one('cast', { to: 'bool' }),
  one('cast', { to: 'f32' }, integers('i64', [5], -9, 9)),
  one('cast', { to: 'f32' }, bools(5)), one('cast', { to: 'u8' }, uniform([9], 0, 255)),
  ...['add', 'sub', 'mul', 'min', 'max'].flatMap((op) => [two(op), two(op, integers('i64', [3, 4], -9, 9), integers('i64', [4], -9, 9))]),
  two('div', uniform(X), uniform([3, 1, 5], 0.5, 2)), two('div', integers('i32', [9], -20, 20), integers('i32', [9], 1, 5)),
  two('pow', uniform(X, 0.3, 3), uniform([5])),
  ...['and', 'or', 'xor'].flatMap((op) => [two(op, bools(3, 4), bools(4)), two(op, integers('i32', [9], -99, 99), integers('i32', [1], -99, 99))]),
  ...['equal', 'less', 'less_equal'].flatMap((op) =>
    [two(op, integers('f32', [3, 5], 0, 3), integers('f32', [5], 0, 3)), two(op, integers('i64', [3, 5], 0, 3), integers('i64', [5], 0, 3))]),
  two('equal', bools(3, 5), bools(5)),
  two('mod', uniform([5], -9, 9), uniform([5], 1, 3), { fmod: true }),
  two('mod', integers('i32', [9], -20, 20), integers('i32', [9], 1, 7), { fmod: false }),
  two('shift', integers('u32', [5], 0, 2 ** 30), integers('u32', [5], 0, 9), { right: true }),
  two('shift', integers('u8', [5], 0, 9), integers('u8', [5], 0, 4), { right: false }),
  { op: 'select', attrs: {}, inputs: [bools(3, 1, 5), uniform(X), uniform([5])] },
  ...['reduce_sum', 'reduce_max', 'reduce_min', 'reduce_prod'].flatMap((op) =>
    [one(op, { axes: [1, 3], keepdims: true }), one(op, { axes: [0, 2], keepdims: false }), one(op, { axes: [0, 1, 2, 3], keepdims: false })]),
  one('reduce_sum', { axes: [0], keepdims: false }, integers('i64', [4, 3], -9, 9)),
  ...['arg_max', 'arg_min'].flatMap((op) => [false, true].map((last) => one(op, { axis: 2, keepdims: last, last }, integers('f32', X, 0, 3)))),
  one('softmax', { axis: 1 }), one('softmax', { axis: 3 }), one('log_softmax', { axis: 1 }), one('log_softmax', { axis: 3 }),
  ...[false, true].flatMap((exclusive) => [false, true].map((reverse) => one('cumsum', { axis: 1, exclusive, reverse }))),
  one('topk', { axis: 2, k: 3, largest: true, sorted: true }), one('topk', { axis: 3, k: 2, largest: false, sorted: true }),
  one('reshape', { shape: [6, 30] }), one('reshape', { shape: [] }, uniform([1, 1])), one('reshape', { shape: [0, 5] }, uniform([3, 0])),
  one('expand', { shape: [2, 3, 4] }, uniform([3, 1])), one('transpose', { perm: [2, 0, 3, 1] }), one('transpose', { perm: [1, 0] }, bools(3, 2)),
  one('slice', { starts: [1, 0, 5, 4], steps: [1, 2, -1, -2], sizes: [1, 2, 6, 3] }),
  one('slice', { starts: [0, 1, 2, 0], steps: [1, 1, 3, 1], sizes: [2, 2, 2, 0] }),
  { op: 'concat', attrs: { axis: 1 }, inputs: [uniform([2, 3, 2]), uniform([2, 1, 2]), uniform([2, 2, 2])] },
  one('pad', { pads: [0, 1, 0, 2, 1, 0, 3, 0], mode: 'constant', value: 0.5 }),
  one('pad', { pads: [2, 1], mode: 'constant', value: 3 }, integers('i64', [4], 0, 9)),
  ...['reflect', 'edge', 'wrap'].map((mode) => one('pad', { pads: [0, 2, 3, 1, 0, 1, 0, 2], mode, value: 0 })),
  { op: 'gather', attrs: { axis: 1 }, inputs: [uniform([2, 4, 3]), index([2, 2], [0, -1, 3, 2])] },
  { op: 'gather', attrs: { axis: 0 }, inputs: [uniform([4, 3]), index([], [2])] },
  { op: 'gather_elements', attrs: { axis: 1 }, inputs: [uniform([3, 4]), index([2, 5], [0, 1, 1, -1, 2, 3, 3, 3, 0, 1])] },
  { op: 'gather_nd', attrs: { batchDims: 0 }, inputs: [uniform([3, 4, 2]), index([2, 2, 2], [0, 1, 2, 3, -1, -1, 0, 1])] },
  { op: 'gather_nd', attrs: { batchDims: 1 }, inputs: [uniform([2, 3, 4]), index([2, 2, 1], [0, 2, -1, 1])] },
  ...['none', 'add', 'mul', 'max', 'min'].flatMap((reduction): Case[] => [
    { op: 'scatter_elements', attrs: { axis: 1, reduction },
      inputs: [uniform([3, 4]), index([2, 3], [0, 3, reduction === 'none' ? 1 : 3, -1, 2, 0]), uniform([2, 3])] },
    { op: 'scatter_nd', attrs: { reduction }, inputs: [uniform([4, 2, 2]), index([3, 1], [1, 3, reduction === 'none' ? 0 : 1]), uniform([3, 2, 2])] },
  ]),
  { op: 'conv', attrs: conv({ strides: [2, 1], pads: [1, 0, 2, 1] }), inputs: [uniform([2, 4, 7, 6]), uniform([6, 4, 3, 2]), uniform([6])] },
  { op: 'conv', attrs: conv({ dilations: [2, 1], group: 2, activation: { min: 0, max: 6 } }), inputs: [uniform([1, 4, 7, 6]), uniform([6, 2, 3, 2])] },
  { op: 'conv', attrs: conv({ group: 4, pads: [1, 1, 1, 1], activation: { min: -1, max: Infinity } }),
    inputs: [uniform([1, 4, 5, 6]), uniform([4, 1, 3, 3]), uniform([4])] },
  { op: 'conv', attrs: { strides: [2], dilations: [1], pads: [1, 0], group: 1 }, inputs: [uniform([2, 3, 9]), uniform([4, 3, 3])] },
  { op: 'conv_transpose', attrs: conv({ strides: [2, 3], pads: [1, 0, 0, 1], outputPadding: [1, 2] }),
    inputs: [uniform([2, 4, 3, 4]), uniform([4, 3, 3, 2]), uniform([3])] },
  { op: 'conv_transpose', attrs: conv({ dilations: [2, 1], group: 2, outputPadding: [0, 0] }), inputs: [uniform([1, 4, 3, 4]), uniform([4, 2, 3, 2])] },
  two('matmul', uniform([2, 1, 4, 5]), uniform([3, 5, 2])), two('matmul', uniform([4, 5]), uniform([5, 2])),
  ...[[0, 15], [-8, 7], [-300, 300]].flatMap(([lo, hi]): Case[] => [
    two('lsq', uniform(X), tensorOf('f32', [], [0.1]), { lo, hi, gradientScale: 1 }),
    two('lsq', uniform(X), uniform([3, 1, 1], 0.02, 0.2), { lo, hi, gradientScale: 1 }),
    { op: 'lsq', attrs: { lo, hi, gradientScale: 1 }, inputs: [uniform(X), tensorOf('f32', [], [0.1]), tensorOf('f32', [], [-0.3])] },
  ]),
  ...[[0, 7, 3], [-8, 7, 1], [-300, 300, 1]].flatMap(([lo, hi, less]): Case[] => [[], [3, 1, 1]].map((shape) => ({
    op: 'mixed_lsq', attrs: { quantizers: [{ lo, hi, gradientScale: 1 }, { lo, hi: less, gradientScale: 1 }, { lo, hi: 5, gradientScale: 1 }] },
    inputs: [uniform(X), ...[0.1, 0.2, 0.07].flatMap((s, i) => [uniform(shape, s, 2 * s), tensorOf('f32', [], [[0.5, 0.2, 0.3][i]])])],
  }))),
  two('lsq', f32(-0.5, 0.25, 0.75, 1.25, 9), tensorOf('f32', [], [0.5]), { lo: 0, hi: 3, gradientScale: 1 }),
  two('pact', uniform(X), tensorOf('f32', [], [1.3]), { bits: 3 }), two('pact', uniform(X), uniform([3, 1, 1], 0.5, 2), { bits: 8 }),
  one('levels', { bits: 2 }, uniform(X, 0, 1)), two('binarize', uniform(X), uniform([2, 1, 1, 1], 0.2, 1)),
  two('power_of_two', uniform(X), uniform([2, 1, 1, 1], 0.5, 2), { octaves: 3, gradientScale: 1 }),
  { op: 'linear', attrs: {}, inputs: [uniform([4, 5]), uniform([3, 5]), uniform([3])] },
  { op: 'linear', attrs: { activation: { min: 0, max: Infinity } }, inputs: [uniform([4, 5]), uniform([3, 5])] },
  { op: 'linear', attrs: {}, inputs: [uniform([2, 4, 5]), uniform([3, 5]), uniform([3])] },
  { op: 'linear', attrs: { activation: { min: -1, max: 1 } }, inputs: [uniform([5]), uniform([3, 5])] },
  one('max_pool', pool({ strides: [2, 2], pads: [1, 0, 1, 1] })),
  one('max_pool', pool({ kernel: [2, 2], strides: [2, 2], ceilExtra: [0, 1] })), one('max_pool', pool({ dilations: [2, 1] })),
  one('avg_pool', { ...pool({ strides: [2, 1], pads: [1, 1, 1, 0] }), countIncludePad: false }),
  one('avg_pool', { ...pool({ pads: [1, 1, 1, 0] }), countIncludePad: true }),
  one('avg_pool', { ...pool({ kernel: [2, 2], strides: [2, 2], ceilExtra: [0, 1] }), countIncludePad: false }),
  one('resize', resize({ mode: 'nearest', sizes: [2, 3, 12, 10], scales: [1, 1, 2, 2], coordinates: 'asymmetric', nearest: 'floor' })),
  one('resize', resize({ sizes: [2, 3, 9, 10], scales: [1, 1, 1.5, 2] })),
  one('resize', resize({ sizes: [2, 3, 4, 7], scales: [1, 1, 4 / 6, 7 / 5], coordinates: 'align_corners' })),
  one('resize', resize({ mode: 'cubic', sizes: [2, 3, 12, 5], scales: [1, 1, 2, 1], cubicA: -0.5 })),
];

const single = ({ op, attrs, inputs }: Case): Graph => {
  const b = createBuilder('case');
  const ids = inputs.map((t, i) => b.input(`x${i}`, { dtype: t.dtype, shape: t.shape }));
  return b.build(b.addMany(op, ids, attrs));
};

function expectClose(found: Tensor, wanted: Tensor): void {
  expect([found.dtype, [...found.shape]]).toEqual([wanted.dtype, [...wanted.shape]]);
  const [y, z] = [toNumbers(found), toNumbers(wanted)];
  if (!isFloat(wanted.dtype)) return expect(y).toEqual(z);
  const size = Math.max(1e-3, ...z.filter(Number.isFinite).map(Math.abs));
  z.forEach((v, i) => {
    if (Number.isFinite(v)) expect(Math.abs(y[i] - v) / size, `element ${i}: ${y[i]}, not ${v}`).toBeLessThan(F32_TOLERANCE);
    else expect(y[i]).toBe(v);
  });
}

describe('one op on onnxruntime', () => {
  it.each(CASES.map((c) => [`${c.op} ${JSON.stringify(c.attrs)} ${c.inputs.map((t) => `${t.dtype}[${t.shape.join()}]`).join(' ')}`,
    c] as const))('%s', async (_, c) => {
    const g = single(c);
    const session = await compileGraph(g, undefined, { optimize: false, threads: 1 });
    const feed = new Map(g.inputs.map((id, i) => [id, c.inputs[i]]));
    const found = await session.run(feed);
    await session.close();
    for (const [id, t] of evaluateGraph(g, feed)) expectClose(found.get(id)!, t);
  });

  it('every row of the export table has a case', () => {
    const covered = new Set(CASES.map((c) => c.op));
    expect(Object.keys(EXPORTS).filter((op) => !covered.has(op))).toEqual([]);
  });
});

/** x → relu → add(c), with all kinds of values as outputs. */
function mixed(): { g: Graph; ids: Record<'x' | 'mask' | 'c' | 'r' | 'y' | 'top', string> } {
  const b = createBuilder('mixed');
  const x = b.input('x', { dtype: 'f32', shape: [2, 3] });
  const mask = b.input('mask', { dtype: 'bool', shape: [3] });
  const c = b.const(tensorOf('i64', [2], [2n ** 40n, -1]), 'c');
  const r = b.add('relu', [b.add('select', [mask, x, b.const(tensorOf('f32', [], [7]))])]);
  const y = b.add('exp', [r]);
  const top = b.add('arg_max', [y], { axis: 1, keepdims: false, last: false });
  return { g: b.build([y, x, mask, c, top]), ids: { x, mask, c, r, y, top } };
}

const feeds = (ids: { x: string; mask: string }): Map<string, Tensor> =>
  new Map([[ids.x, tensorOf('f32', [2, 3], [-1, 2, -3, 4, -5, 6])], [ids.mask, tensorOf('bool', [3], [1, 0, 1])]]);
const code = (c: string): unknown => expect.objectContaining({ code: c });

describe('compileGraph', () => {
  it('returns inputs, constants, booleans and 64-bit integers', async () => {
    const { g, ids } = mixed();
    const session = await compileGraph(g);
    const found = await session.run(feeds(ids));
    const wanted = evaluateGraph(g, feeds(ids));
    expect([...found.keys()].sort()).toEqual([...wanted.keys()].sort());
    for (const [id, t] of wanted) expectClose(found.get(id)!, t);
    expect(found.get(ids.c)!.data[0]).toBe(2n ** 40n);
    expect(found.get(ids.mask)!.data).toBeInstanceOf(Uint8Array);
    await session.close();
  });

  it('gives chosen intermediate values, each once, and computes nothing else', async () => {
    const { g, ids } = mixed();
    const session = await compileGraph(g, [ids.r, ids.r]);
    expect([...(await session.run(feeds(ids))).entries()].map(([id, t]) => [id, toNumbers(t)])).toEqual([[ids.r, [0, 7, 0, 4, 7, 6]]]);
    await session.close();
    expect(new TextDecoder('latin1').decode(exportOnnx(g, [ids.r]))).not.toContain('ArgMax');
  });

  it('runs again with other data, and as a file keyed by ONNX names', async () => {
    const { g, ids } = mixed();
    const session = await openModel(exportOnnx(g, [ids.r]), { optimize: false });
    for (const k of [1, 2]) {
      const x = tensor('f32', [2, 3], new Float32Array(6).fill(k));
      expect(toNumbers((await session.run(new Map([...feeds(ids), [ids.x, x]]))).get(ids.r)!)).toEqual([k, 7, k, k, 7, k]);
    }
    await session.close();
  });

  it('refuses inputs that are missing or do not fit (E302)', async () => {
    const { g, ids } = mixed();
    const session = await compileGraph(g);
    const mask = feeds(ids).get(ids.mask)!;
    await expect(session.run(new Map([[ids.mask, mask]]))).rejects.toThrowError(code('E302'));
    for (const x of [tensorOf('f32', [3, 2], [0, 0, 0, 0, 0, 0]), tensorOf('f64', [2, 3], [0, 0, 0, 0, 0, 0])]) {
      await expect(session.run(new Map([[ids.mask, mask], [ids.x, x]]))).rejects.toThrowError(code('E302'));
    }
    await session.close();
  });

  it('refuses what cannot be exported or run (E601)', async () => {
    const { g } = mixed();
    const unknown = { ...g, nodes: g.nodes.map((n) => (n.op === 'exp' ? { ...n, op: 'frob', origin: 'node7' } : n)) };
    const error = await compileGraph(unknown).then(() => null, (e: unknown) => e);
    expect(error).toBeInstanceOf(BitloomError);
    expect((error as BitloomError).diagnostic).toMatchObject({ code: 'E601', node: 'node7' });
    await expect(openModel(Uint8Array.of(1, 2, 3))).rejects.toThrowError(code('E601'));
    const file = await openModel(exportOnnx(single(CASES[0])));
    await expect(file.run(new Map([['x0', tensorOf('f32', [1], [0])]]))).rejects.toThrowError(code('E601'));
    await file.close();
  });
});
