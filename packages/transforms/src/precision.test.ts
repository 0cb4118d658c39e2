import { type Graph, type GraphBuilder, type ValueId, valueOf, verifyGraph } from '@bitloom/ir';
import { type Bits, type QuantParams, codeRange } from '@bitloom/numerics';
import { compose, createBuilder, opTable } from '@bitloom/ops';
import { allocate } from '@bitloom/tensor';
import { describe, expect, it } from 'vitest';
import { activationScheme, applyAssignment, applyCalibration, layerBits, layersOf, markCandidates, quantizable, weightScheme } from './index.js';

const zeros = (b: GraphBuilder, shape: readonly number[]): ValueId => b.const(allocate('f32', shape), 'w');
const conv = (b: GraphBuilder, x: ValueId, outs: number, kernel = 3, over: object = {}): ValueId => {
  const pads = new Array<number>(4).fill((kernel - 1) / 2);
  return b.add('conv', [x, zeros(b, [outs, b.shapeOf(x)[1], kernel, kernel])], { strides: [1, 1], dilations: [1, 1], pads, group: 1, ...over });
};
const relu = { activation: { min: 0, max: Infinity } };
const whole = { kernel: [4, 4], strides: [1, 1], pads: [0, 0, 0, 0], dilations: [1, 1], ceilExtra: [0, 0] };
const linear = (b: GraphBuilder, x: ValueId, outs: number): ValueId => b.add('linear', [x, zeros(b, [outs, b.shapeOf(x).at(-1)!])]);

/** Values of each group. */
const sites = (g: Graph): (readonly ValueId[])[] => quantizable(g).groups.map((a) => a.values);

describe('layersOf', () => {
  it('counts parameters and multiply–accumulates', () => {
    const b = createBuilder('g');
    b.origin = 'c';
    const x = b.input('x', { dtype: 'f32', shape: [2, 4, 8, 6] });
    const c = b.add('conv', [x, zeros(b, [6, 2, 3, 3])], { strides: [2, 1], dilations: [1, 1], pads: [1, 1, 1, 1], group: 2 });
    b.origin = 'fc';
    const y = linear(b, compose.reshapeTo(b, c, [2, 144]), 10);
    const of = (g: Graph): unknown => layersOf(g).map(({ name, params, macs }) => ({ name, params, macs }));
    expect(of(b.build([y]))).toEqual([
      { name: 'c', params: 6 * 2 * 9, macs: 2 * 6 * 4 * 6 * 2 * 9 },
      { name: 'fc', params: 1440, macs: 2 * 1440 },
    ]);
  });

  it('leaves out weights that are no constant, no f32, or of more than two spatial axes', () => {
    const b = createBuilder('g');
    const [x, w] = [b.input('x', { dtype: 'f32', shape: [1, 4] }), b.input('w', { dtype: 'f32', shape: [3, 4] })];
    const d = b.add('linear', [b.input('d', { dtype: 'f64', shape: [1, 4] }), b.const(allocate('f64', [3, 4]))]);
    const volume = b.add('conv', [b.input('v', { dtype: 'f32', shape: [1, 1, 2, 2, 2] }), zeros(b, [1, 1, 1, 1, 1])],
      { strides: [1, 1, 1], dilations: [1, 1, 1], pads: [0, 0, 0, 0, 0, 0], group: 1 });
    expect(layersOf(b.build([b.add('linear', [x, w]), d, volume]))).toEqual([]);
  });

  it('names repetitions apart and counts shared weights once', () => {
    const b = createBuilder('g');
    b.origin = 'rnn';
    const w = zeros(b, [4, 4]);
    const x = b.input('x', { dtype: 'f32', shape: [1, 4] });
    const y = b.add('linear', [b.add('linear', [b.add('tanh', [b.add('linear', [x, w])]), w]), zeros(b, [4, 4])]);
    expect(layersOf(b.build([y])).map((l) => [l.name, l.params, l.macs])).toEqual([['rnn', 16, 16], ['rnn#2', 0, 16], ['rnn#3', 16, 16]]);
  });
});

describe('quantizable', () => {
  it('a plain chain: what layers read, but neither logits nor the inside of elementwise loops', () => {
    const b = createBuilder('g');
    const x = b.input('x', { dtype: 'f32', shape: [1, 3, 4, 4] });
    const c = conv(b, x, 4);
    const s = b.add('sigmoid', [c]);
    const swish = compose.mul(b, c, s);
    const pooled = b.add('max_pool', [swish], whole);
    const flat = compose.reshapeTo(b, pooled, [1, 4]);
    const logits = linear(b, flat, 10);
    const y = b.add('softmax', [logits], { axis: 1 });
    expect(sites(b.build([y]))).toEqual([[x], [c], [swish, pooled, flat]]);
    const { groups, layers } = quantizable(b.build([y]));
    expect(groups.map((a) => a.layers)).toEqual([[layers[0]], [], [layers[1]]]);
  });

  it('the operands of an addition and its result are groups of their own', () => {
    const b = createBuilder('g');
    const x = b.input('x', { dtype: 'f32', shape: [1, 4, 4, 4] });
    const stem = conv(b, x, 4, 3, relu);
    const inner = conv(b, conv(b, stem, 4, 3, relu), 4);
    const mid = b.build([]).nodes.filter((n) => n.op === 'conv')[1].outputs[0];
    const block = b.add('relu', [compose.add(b, stem, inner)]);
    const second = conv(b, block, 4);
    const out = b.add('relu', [compose.add(b, block, second)]);
    const y = conv(b, out, 2);
    expect(sites(b.build([y]))).toEqual([[x], [stem], [mid], [inner], [block], [second], [out]]);
  });

  it('the operands of a concatenation and its result are groups of their own', () => {
    const b = createBuilder('g');
    const x = b.input('x', { dtype: 'f32', shape: [1, 3, 4, 4] });
    const [p, q] = [conv(b, x, 2), conv(b, x, 2, 1)];
    const both = b.add('concat', [p, q, zeros(b, [1, 1, 4, 4])], { axis: 1 });
    const g = b.build([conv(b, both, 2)]);
    expect(sites(g)).toEqual([[x], [p], [q], [both]]);
    expect(quantizable(g).groups[0].layers.map((l) => l.output)).toEqual([p, q]);
  });

  it('an input in channels-last order is one group with its transposition', () => {
    const b = createBuilder('g');
    const x = b.input('x', { dtype: 'f32', shape: [1, 4, 4, 3] });
    const t = compose.transpose(b, x, [0, 3, 1, 2]);
    const c = conv(b, t, 2);
    const back = compose.transpose(b, c, [0, 2, 3, 1]);
    expect(sites(b.build([back]))).toEqual([[x, t]]);
    expect(sites(b.build([linear(b, back, 3)]))).toEqual([[x, t], [c, back]]);
  });

  it('graph outputs stay float even where a layer reads them', () => {
    const b = createBuilder('g');
    const x = b.input('x', { dtype: 'f32', shape: [1, 4] });
    const h = linear(b, x, 4);
    expect(sites(b.build([h, linear(b, h, 4)]))).toEqual([[x]]);
  });

  it('statistics of normalisations and attention stay float; what layers read of them does not', () => {
    const b = createBuilder('g');
    const x = b.input('x', { dtype: 'f32', shape: [1, 6, 8] });
    const h = linear(b, x, 8);
    const d = compose.sub(b, h, compose.reduceMean(b, h, [2], true));
    const variance = compose.reduceMean(b, compose.square(b, d), [2], true);
    const normed = compose.div(b, d, b.add('sqrt', [compose.shift(b, variance, 1e-5)]));
    const [q, k, v] = [0, 1, 2].map(() => linear(b, normed, 8));
    const kt = compose.transpose(b, k, [0, 2, 1]);
    const attended = b.add('matmul', [b.add('softmax', [b.add('matmul', [q, kt])], { axis: 2 }), v]);
    const gated = compose.add(b, h, linear(b, attended, 8));
    expect(sites(b.build([linear(b, gated, 3)]))).toEqual([[x], [h], [normed], [q], [k, kt], [v], [attended],
      [b.build([]).nodes.filter((n) => n.op === 'linear')[4].outputs[0]], [gated]]);
  });

  it('squeeze and excitation', () => {
    const b = createBuilder('g');
    const x = b.input('x', { dtype: 'f32', shape: [1, 3, 4, 4] });
    const c = conv(b, x, 4);
    const mean = compose.reduceMean(b, c, [2, 3], true);
    const e1 = conv(b, mean, 2, 1, relu);
    const e2 = conv(b, e1, 4, 1);
    const y = compose.mul(b, c, b.add('sigmoid', [e2]));
    // The sigmoid has another shape than the product, so it is stored: in float.
    expect(sites(b.build([conv(b, y, 2)]))).toEqual([[x], [c], [mean], [e1], [e2], [y]]);
  });

  it('nothing without layers', () => {
    const b = createBuilder('g');
    const x = b.input('x', { dtype: 'f32', shape: [1, 4] });
    expect(quantizable(b.build([b.add('relu', [x])]))).toEqual({ layers: [], groups: [] });
  });

  it('long chains of moves do not exhaust the stack', () => {
    const b = createBuilder('deep');
    const x = linear(b, b.input('x', { dtype: 'f32', shape: [1, 2] }), 2);
    const rows = Array.from({ length: 4000 }, () => compose.reshapeTo(b, x, [2, 1]));
    const y = rows.reduce((v) => compose.reshapeTo(b, v, b.shapeOf(v).length === 2 ? [2] : [1, 2]), x);
    const { groups } = quantizable(b.build([linear(b, compose.reshapeTo(b, y, [1, 2]), 1)]));
    expect(groups.at(-1)!.values.length).toBeGreaterThan(4000);
  });
});

describe('from candidates to calibrated', () => {
  const network = (): { g: Graph; x: ValueId; w: ValueId; y: ValueId } => {
    const b = createBuilder('g');
    const x = b.input('input', { dtype: 'f32', shape: [1, 4] });
    const h = linear(b, x, 4);
    const y = linear(b, h, 2);
    return { g: b.build([y]), x, w: layersOf(b.build([y]))[0].weight, y };
  };
  const params = (bits: Bits, weight: boolean): QuantParams => {
    const scheme = weight ? weightScheme(bits) : activationScheme(bits);
    const n = weight ? 4 : 1;
    return { scheme, scale: new Float32Array(n).fill(0.5), zeroPoint: new Int32Array(n).fill(weight ? 0 : codeRange(scheme).hi) };
  };

  it('narrows value by value, and every phase verifies', () => {
    const { g, x, w } = network();
    const candidates = markCandidates(g, [2, 4], [8]);
    verifyGraph(candidates, opTable);
    expect(valueOf(candidates, w).precision).toEqual({ state: 'candidates', schemes: [weightScheme(2), weightScheme(4)] });
    expect(valueOf(candidates, x).precision).toEqual({ state: 'candidates', schemes: [activationScheme(8)] });

    const chosen = applyAssignment(candidates, new Map([[w, weightScheme(4)], [x, activationScheme(8)]]));
    verifyGraph(chosen, opTable);
    expect([...chosen.values.values()].filter((v) => v.precision.state !== 'float').map((v) => v.id).sort()).toEqual([w, x].sort());
    expect(layersOf(chosen).map((l) => layerBits(chosen, l))).toEqual([{ weights: 4, activations: 8 }, { weights: 32, activations: 32 }]);

    const done = applyCalibration(chosen, new Map([[w, params(4, true)], [x, params(8, false)]]));
    verifyGraph(done, opTable);
    expect(valueOf(done, x).precision).toEqual({ state: 'calibrated', params: params(8, false) });
    expect(layersOf(done).map((l) => layerBits(done, l))).toEqual([{ weights: 4, activations: 8 }, { weights: 32, activations: 32 }]);
  });

  it('refuses values that cannot be quantised (E502)', () => {
    const { g, y } = network();
    for (const id of [y, 'nowhere']) {
      expect(() => applyAssignment(markCandidates(g, [8], [8]),
        new Map([[id, activationScheme(8)]]))).toThrowError(expect.objectContaining({ code: 'E502' }));
    }
    expect(() => applyAssignment(g, new Map([[g.inputs[0],
      activationScheme(8)]]))).toThrowError(expect.objectContaining({ diagnostic: expect.objectContaining({ node: 'input' }) }));
  });

  it('refuses a chosen value without numbers (E402), by its ONNX name', () => {
    const { g, x, w } = network();
    const chosen = applyAssignment(markCandidates(g, [4], [8]), new Map([[w, weightScheme(4)], [x, activationScheme(8)]]));
    expect(() => applyCalibration(chosen, new Map([[w,
      params(4, true)]]))).toThrowError(expect.objectContaining({ diagnostic: expect.objectContaining({ code: 'E402', node: 'input' }) }));
  });
});
