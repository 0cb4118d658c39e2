/** Exported graphs are the same bytes every time, and importing them gives the same function. What onnxruntime makes of them is tested by the engine. */
import { type Graph, type GraphBuilder, type ValueId, typeOf, valueOf } from '@bitloom/ir';
import { createBuilder, evaluateGraph } from '@bitloom/ops';
import { type DType, Rng, type Tensor, elementCount, tensorOf, toNumbers } from '@bitloom/tensor';
import { describe, expect, it } from 'vitest';
import { exportOnnx, importOnnx } from '../index.js';

const rng = new Rng(5);
const uniform = (shape: readonly number[], lo = -2, hi = 2): Tensor => tensorOf('f32', shape, Array.from({ length: elementCount(shape) }, () => lo + (hi - lo) * rng.uniform()));
const index = (shape: readonly number[], values: readonly number[]): Tensor => tensorOf('i64', shape, values);

const conv = (over: object = {}): object => ({ strides: [1, 1], dilations: [1, 1], pads: [0, 0, 0, 0], group: 1, ...over });
const pool = (over: object = {}): object => ({ kernel: [3, 2], strides: [2, 1], pads: [1, 0, 1, 1], dilations: [1, 1], ceilExtra: [0, 0], ...over });
const resize = (over: object): object => ({
  sizes: [2, 3, 9, 10], scales: [1, 1, 1.5, 2], mode: 'linear', coordinates: 'half_pixel', nearest: 'round_prefer_floor', cubicA: -0.75, excludeOutside: false,
  antialias: false, roi: null, extrapolation: 0, ...over,
});

const X = [2, 3, 6, 5];
const relu6 = { activation: { min: 0, max: 6 } };
type Build = (b: GraphBuilder, x: ValueId) => ValueId | readonly ValueId[];
const op = (name: string, attrs: unknown = {}, ...constants: readonly Tensor[]): Build => (b, x) => b.addMany(name, [x, ...constants.map((t, i) => b.const(t, `c${i}`))], attrs);

const GRAPHS: Readonly<Record<string, Build>> = {
  'a chain of elementwise ops': (b, x) => b.add('mul', [b.add('tanh', [b.add('add', [x, b.const(uniform([3, 1, 1]), 'shift')], {})], {}), b.const(tensorOf('f32', [], [0.5]), 'half')], {}),
  'conv with an activation': op('conv', conv({ strides: [2, 1], pads: [1, 0, 2, 1], ...relu6 }), uniform([4, 3, 3, 2]), uniform([4])),
  'conv with groups and no bias': op('conv', conv({ group: 3, dilations: [2, 1] }), uniform([6, 1, 2, 2])),
  'conv_transpose': op('conv_transpose', conv({ strides: [2, 3], outputPadding: [1, 2] }), uniform([3, 2, 3, 3]), uniform([2])),
  'linear of rank 2 with an activation': (b, x) => b.add('linear', [b.add('reshape', [x], { shape: [6, 30] }), b.const(uniform([4, 30]), 'w'), b.const(uniform([4]), 'b')], relu6),
  'linear of rank 4': op('linear', { activation: null }, uniform([4, 5]), uniform([4])),
  'matmul': op('matmul', {}, uniform([5, 4])),
  'clip without a lower bound': op('clip', { min: -Infinity, max: 0.5 }),
  'softmax along an inner axis': op('softmax', { axis: 1 }),
  'log_softmax': op('log_softmax', { axis: 3 }),
  'reductions': (b, x) => ['reduce_sum', 'reduce_max', 'reduce_min', 'reduce_prod'].map((r, i) => b.add(r, [x], { axes: i % 2 ? [1, 3] : [0, 2], keepdims: i < 2 })),
  'arg_max of the last': op('arg_max', { axis: 2, keepdims: true, last: true }),
  'topk with both outputs': op('topk', { axis: 3, k: 2, largest: false, sorted: true }),
  'cumsum': op('cumsum', { axis: 1, exclusive: true, reverse: true }),
  'max_pool': op('max_pool', pool()),
  'max_pool with a partial window': op('max_pool', { kernel: [2, 2], strides: [2, 2], pads: [0, 0, 0, 0], dilations: [1, 1], ceilExtra: [0, 1] }),
  'avg_pool': op('avg_pool', { ...pool(), countIncludePad: true }),
  'resize by sizes': op('resize', resize({ sizes: [2, 3, 4, 7], scales: [1, 1, 4 / 6, 7 / 5], coordinates: 'align_corners' })),
  'resize by scales': op('resize', resize({ mode: 'cubic', cubicA: -0.5 })),
  'slice backwards': op('slice', { starts: [1, 0, 5, 4], steps: [1, 2, -1, -2], sizes: [1, 2, 6, 3] }),
  'pad by reflection': op('pad', { pads: [0, 1, 0, 2, 0, 1, 3, 0], mode: 'reflect', value: 0 }),
  'pad with a value': op('pad', { pads: [0, 1, 0, 2, 0, 1, 3, 0], mode: 'constant', value: 2.5 }),
  'transpose and reshape': (b, x) => b.add('reshape', [b.add('transpose', [x], { perm: [2, 0, 3, 1] })], { shape: [4, 45] }),
  'expand': op('expand', { shape: [4, 2, 3, 6, 5] }),
  'concat with a constant': op('concat', { axis: 1 }, uniform([2, 2, 6, 5])),
  'gather': op('gather', { axis: 1 }, index([2, 2], [0, -1, 1, 2])),
  'gather_elements': op('gather_elements', { axis: 3 }, index([2, 3, 6, 1], Array.from({ length: 36 }, (_, i) => i % 5))),
  'gather_nd': op('gather_nd', { batchDims: 1 }, index([2, 2, 1], [0, 2, -1, 1])),
  'scatter_elements that adds': op('scatter_elements', { axis: 0, reduction: 'add' }, index([1, 3, 6, 5], Array.from({ length: 90 }, (_, i) => i % 2)), uniform([1, 3, 6, 5])),
  'scatter_nd': op('scatter_nd', { reduction: 'none' }, index([1, 1], [1]), uniform([1, 3, 6, 5])),
  'comparison and select': (b, x) => b.add('select', [b.add('less', [x, b.const(uniform([5]), 't')], {}), x, b.add('neg', [x], {})], {}),
  'casts': (b, x) => (['i32', 'u8', 'bool', 'f64'] as DType[]).map((to) => b.add('cast', [x], { to })),
  'boolean logic': (b, x) => b.add('xor', [b.add('isnan', [x], {}), b.add('not', [b.add('cast', [x], { to: 'bool' })], {})], {}),
  'integers': (b, x) => {
    const i = b.add('cast', [x], { to: 'i32' });
    return [b.add('bitnot', [i], {}), b.add('and', [i, b.const(tensorOf('i32', [], [6]), 'mask')], {}), b.add('mod', [i, b.const(tensorOf('i32', [], [3]), 'three')], { fmod: false })];
  },
};

const graphOf = (build: Build): Graph => {
  const b = createBuilder('g');
  const out = build(b, b.input('x', { dtype: 'f32', shape: X }));
  return b.build(typeof out === 'string' ? [out] : out);
};

describe('exported graphs', () => {
  it.each(Object.entries(GRAPHS))('%s', (_, build) => {
    const g = graphOf(build);
    const bytes = exportOnnx(g);
    expect(Buffer.compare(bytes, exportOnnx(g))).toBe(0);

    const { graph: back, opset } = importOnnx(bytes);
    expect(opset).toBe(19);
    expect(back.inputs.map((id) => [valueOf(back, id).name, typeOf(back, id)])).toEqual([['x', { dtype: 'f32', shape: X }]]);
    const input = new Map([['x', uniform(X)]]);
    const expected = [...evaluateGraph(g, new Map([[g.inputs[0], input.get('x')!]])).values()];
    const found = [...evaluateGraph(back, input).values()];
    expect(found.map((t) => [t.dtype, t.shape])).toEqual(expected.map((t) => [t.dtype, t.shape]));
    found.forEach((t, i) => {
      const want = toNumbers(expected[i]);
      // The importer may take an op apart and sum in another order.
      toNumbers(t).forEach((v, k) => expect(Math.abs(v - want[k]) <= 2e-6 * Math.max(1, Math.abs(want[k])) || Object.is(v, want[k]), `output ${i}, element ${k}: ${v}, not ${want[k]}`).toBe(true));
    });
  });

  it('choose intermediate values as outputs, and leave out what these do not need', () => {
    const b = createBuilder('g');
    const x = b.input('x', { dtype: 'f32', shape: X });
    const y = b.add('relu', [x], {});
    const z = b.add('exp', [y], {});
    const g = b.build([z]);
    const chosen = importOnnx(exportOnnx(g, [y])).graph;
    expect(chosen.nodes.map((n) => n.op)).toEqual(['relu']);
    expect(valueOf(chosen, chosen.outputs[0]).name).toBe(y);
    // Inputs and constants as outputs; each once.
    const all = importOnnx(exportOnnx(g, [x, z, z])).graph;
    expect(all.outputs.map((id) => valueOf(all, id).name)).toEqual([`$out.${x}`, z]);
  });

  it('name every node differently, also where names look like numbered ones', () => {
    const b = createBuilder('g');
    let x = b.input('x', { dtype: 'f32', shape: X });
    for (const origin of ['a', 'a.1', 'a', 'a', 'a.1']) x = b.add('relu', [x], {}, { origin });
    const names = importOnnx(exportOnnx(b.build([x]))).graph.nodes.map((n) => n.origin);
    expect(names).toEqual(['a', 'a.1', 'a.2', 'a.3', 'a.1.1']);
  });

  it('keep constants exactly, of every type', () => {
    const special = tensorOf('f32', [4], [-0, 1e-45, 3.4028234663852886e38, 0.1]);
    const b = createBuilder('g');
    const x = b.input('x', { dtype: 'f32', shape: [4] });
    const sum = b.add('add', [x, b.const(special, 'special')], {});
    const big = b.add('add', [b.add('cast', [x], { to: 'i64' }), b.const(tensorOf('i64', [1], [2n ** 62n + 1n]), 'big')], {});
    const back = importOnnx(exportOnnx(b.build([sum, big]))).graph;
    const constants = back.nodes.flatMap((n) => (n.op === 'const' ? [(n.attrs as { data: Tensor }).data] : []));
    expect(constants.find((t) => t.dtype === 'f32')!.data).toEqual(special.data);
    expect(constants.find((t) => t.dtype === 'i64')!.data).toEqual(BigInt64Array.of(2n ** 62n + 1n));
  });
});
