import { type ValueId, typeOf, verifyGraph } from '@bitloom/ir';
import { type QuantParams, dequantize, fakeQuantize, quantize } from '@bitloom/numerics';
import { createBuilder, evaluateGraph, opTable } from '@bitloom/ops';
import { Rng, type Tensor, elementCount, tensor, tensorOf, toNumbers } from '@bitloom/tensor';
import { activationScheme, layersOf, weightScheme } from '@bitloom/transforms';
import { describe, expect, it } from 'vitest';
import { type Parameter, Trainer, fakeQuantized, foldLayer, insideCells, learntParams, learntSteps, losses, optimizers, trainable } from './index.js';

const rng = new Rng(31);
const normal = (shape: readonly number[], size = 1): Tensor => tensor('f32', shape, Float32Array.from({ length: elementCount(shape) }, () => size * rng.normal()));

const b = createBuilder('net');
const x = b.input('x', { dtype: 'f32', shape: [3, 2, 5, 5] });
b.origin = 'conv';
const y = b.add('conv', [x, b.const(normal([4, 2, 3, 3], 0.4)), b.const(normal([4]))], { strides: [1, 1], dilations: [1, 1], pads: [1, 1, 1, 1], group: 1, activation: { min: 0, max: Infinity } });
b.origin = 'reshape';
const flat = b.add('reshape', [y], { shape: [3, 100] });
b.origin = 'fc';
const g = b.build([b.add('linear', [flat, b.const(normal([3, 100], 0.2)), b.const(normal([3]))], { activation: null })]);
const [conv, fc] = layersOf(g);

const perChannel = (bits: 1 | 2 | 4, scale: readonly number[]): QuantParams =>
  ({ scheme: weightScheme(bits), scale: Float32Array.from(scale), zeroPoint: new Int32Array(scale.length) });
const params = new Map<ValueId, QuantParams>([
  [x, { scheme: activationScheme(4), scale: Float32Array.of(0.31), zeroPoint: Int32Array.of(7) }],
  [conv.weight, perChannel(2, [0.3, 0.41, 0.25, 0.5])], [y, { scheme: activationScheme(2), scale: Float32Array.of(0.6), zeroPoint: Int32Array.of(0) }],
  [fc.weight, perChannel(1, [0.1, 0.2, 0.15])],
]);
const sample = normal([3, 2, 5, 5]);
const constants = new Map(g.nodes.filter((n) => n.op === 'const').map((n) => [n.outputs[0], (n.attrs as { data: Tensor }).data]));
const fake = (t: Tensor, q: QuantParams): Tensor => tensor('f32', t.shape, fakeQuantize(t.data as Float32Array, t.shape, q));

/** The network of such constants with everything quantised, step by step. */
function quantized(q: ReadonlyMap<ValueId, QuantParams>, of: ReadonlyMap<ValueId, Tensor>): Tensor {
  const data = (id: ValueId): Tensor => (q.has(id) ? fake(of.get(id)!, q.get(id)!) : of.get(id)!);
  const nodes = g.nodes.map((n) => (n.op === 'const' ? { ...n, attrs: { data: data(n.outputs[0]) } } : n));
  const h = { ...g, nodes };
  const middle = evaluateGraph(h, new Map([[x, fake(sample, q.get(x)!)]]), [y]).get(y)!;
  const fromMiddle = { ...h, inputs: [y], nodes: nodes.filter((n) => n.outputs[0] !== y) };
  return [...evaluateGraph(fromMiddle, new Map([[y, fake(middle, q.get(y)!)]])).values()][0];
}
const close = (found: Tensor, wanted: Tensor): void => toNumbers(wanted).forEach((v, i) => expect(toNumbers(found)[i], `element ${i}`).toBeCloseTo(v, 4));

describe('learnt steps', () => {
  it('begin on the grids of the compiler', () => {
    const insert = learntSteps(params);
    const t = trainable(g, insert);
    const logits = t.values.get(g.outputs[0])!;
    expect([...insert.steps.values()].map((p) => [p.name.endsWith('.step'), p.initial.shape])).toEqual([[true, []], [true, [4, 1, 1, 1]], [true, []], [true, [3, 1]]]);
    const feeds = new Map([[t.inputs.get(x)!, sample], ...[...t.parameters, ...insert.steps.values()].map((p) => [p.id, p.initial] as const)]);
    close(evaluateGraph(t.b.build([logits]), feeds).get(logits)!, quantized(params, constants));
  });

  it('are learnt; the network of the learnt numbers gives what it gave in training', async () => {
    const insert = learntSteps(params, { rateScale: 0.5 });
    const t = trainable(g, insert);
    const logits = t.values.get(g.outputs[0])!;
    const targets = t.b.input('t', { dtype: 'f32', shape: [3, 3] });
    const loss = losses.crossEntropy(t.b, logits, targets);
    const parameters = [...t.parameters, ...insert.steps.values()];
    const trainer = await Trainer.create({ graph: t.b.build([loss, logits]), loss, parameters, watched: [logits] }, optimizers.adam(), { threads: 1 });
    const feeds = new Map([[t.inputs.get(x)!, sample], [targets, tensorOf('f32', [3, 3], [1, 0, 0, 0, 1, 0, 0, 0, 1])]]);
    const curve: number[] = [];
    for (let i = 0; i < 30; i++) curve.push((await trainer.run(feeds, 0.01)).loss);
    expect(curve[29]).toBeLessThan(0.7 * curve[0]);
    const state = (p: Parameter): Tensor => trainer.parameter(p);
    const learnt = learntParams(params, insert, state);
    for (const [id, q] of learnt) expect(q.scale, id).not.toEqual(params.get(id)!.scale);
    const trained = new Map(t.layers.flatMap((l) => [[l.layer.weight, state(l.weight)], [l.layer.node.inputs[2], state(l.bias!)]] as const));
    const { watched } = await trainer.run(feeds, 0);
    close(watched.get(logits)!, quantized(learnt, trained));
    await trainer.close();
  });

  it('codes survive the folding of normalisation; steps that are not positive are refused (E404)', () => {
    const insert = learntSteps(params);
    const statistics = { mean: Float32Array.of(0.1, -0.2, 0.3, 0), variance: Float32Array.of(1, 2, 0.5, 3) };
    const t = trainable(g, { ...insert, statistics: new Map([['conv', statistics]]) });
    const initial = (p: Parameter): Tensor => p.initial;
    const begun = learntParams(params, insert, initial).get(conv.weight)!;
    const w = fake(t.layers[0].weight.initial, begun);
    const folded = foldLayer(t.layers[0], initial, w, { mean: statistics.mean, variance: statistics.variance.map((v) => 1.7 * v) });
    const learnt = learntParams(params, insert, initial, new Map([[conv.weight, folded.factor]]));
    expect(quantize(folded.weight.data as Float32Array, w.shape, learnt.get(conv.weight)!)).toEqual(quantize(w.data as Float32Array, w.shape, begun));
    expect(() => learntParams(params, insert, initial, new Map([[conv.weight, Float32Array.of(1, -1, 1, 1)]]))).toThrowError(expect.objectContaining({ code: 'E404' }));
  });
});

describe('fakeQuantized', () => {
  it('is the network with everything quantised, under the ids that its values had', () => {
    const q = fakeQuantized(g, new Map([...params].filter(([id]) => id === x || id === y)));
    verifyGraph(q, opTable);
    const weights = new Map([...constants].map(([id, t]) => [id, params.has(id) ? fake(t, params.get(id)!) : t]));
    const folded = { ...q, nodes: q.nodes.map((n) => (n.op === 'const' && weights.has(n.outputs[0]) ? { ...n, attrs: { data: weights.get(n.outputs[0])! } } : n)) };
    close([...evaluateGraph(folded, new Map([[x, sample]])).values()][0], quantized(params, constants));
    expect(typeOf(q, y)).toEqual(typeOf(g, y));
  });
});

describe('insideCells', () => {
  it.each([1, 2, 4] as const)('gives codes that are no nearest ones to weights that stay as near as can be: %d bits', (bits) => {
    const q = perChannel(bits, [0.3, 0.2]);
    const weight = normal([2, 40], 0.3);
    const own = quantize(weight.data as Float32Array, weight.shape, q);
    // A third of the codes goes one up or down.
    const wanted = own.map((c, i) => (i % 3 > 0 ? c : bits === 1 ? -c : c === 0 ? 1 : c - Math.sign(c)));
    const begun = insideCells(weight, tensor('f32', weight.shape, dequantize(wanted, weight.shape, q)), q);
    expect([...quantize(begun.data as Float32Array, begun.shape, q)]).toEqual([...wanted]);
    toNumbers(begun).forEach((w, i) => {
      const step = q.scale[Math.floor(i / 40)] * (bits === 1 ? 2 : 1);
      const [before, centre] = [Number(weight.data[i]), wanted[i] * q.scale[Math.floor(i / 40)]];
      if (i % 3 > 0) expect(w).toBe(before);
      else expect(w).toBeCloseTo(centre + 0.25 * step * Math.sign(before - centre), 6);
    });
  });
});
