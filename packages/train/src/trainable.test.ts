import { type Graph, type ValueId, verifyGraph } from '@bitloom/ir';
import { createBuilder, evaluateGraph, opTable } from '@bitloom/ops';
import { Rng, type Tensor, tensor, tensorOf, toNumbers } from '@bitloom/tensor';
import { layersOf, replaceConstants } from '@bitloom/transforms';
import { describe, expect, it } from 'vitest';
import { type ChannelStatistics, type Parameter, type Trainable, Trainer, foldLayer, losses, optimizers, trainable } from './index.js';

const rng = new Rng(12);
const normal = (shape: readonly number[], size = 1): Tensor =>
  tensor('f32', shape, Float32Array.from({ length: shape.reduce((p, d) => p * d, 1) }, () => size * rng.normal()));

const BATCH = 4;
/** conv–relu, conv–clip and conv without bias, a shortcut, fully connected. */
function network(): { g: Graph; x: ValueId } {
  const b = createBuilder('net');
  const x = b.input('x', { dtype: 'f32', shape: [BATCH, 3, 6, 6] });
  const attrs = { strides: [1, 1], dilations: [1, 1], pads: [1, 1, 1, 1], group: 1 };
  b.origin = 'first';
  const first = b.add('conv', [x, b.const(normal([4, 3, 3, 3], 0.3)), b.const(normal([4]))], { ...attrs, activation: { min: 0, max: Infinity } });
  b.origin = 'second';
  const second = b.add('conv', [first, b.const(normal([4, 4, 3, 3], 0.3))], { ...attrs, activation: { min: -1, max: 1.5 } });
  b.origin = 'third';
  const third = b.add('conv', [second, b.const(normal([4, 4, 1, 1], 0.5))], { ...attrs, pads: [0, 0, 0, 0] });
  b.origin = 'sum';
  const flat = b.add('reshape', [b.add('add', [first, third])], { shape: [BATCH, 144] });
  b.origin = 'last';
  return { g: b.build([b.add('linear', [flat, b.const(normal([5, 144], 0.1)), b.const(normal([5]))], { activation: null })]), x };
}

const { g, x } = network();
const sample = normal([BATCH, 3, 6, 6]);
const initial = (p: Parameter): Tensor => p.initial;
const close = (found: Tensor, wanted: Tensor): void => {
  expect(found.shape).toEqual(wanted.shape);
  toNumbers(wanted).forEach((w, i) => expect(toNumbers(found)[i], `element ${i}`).toBeCloseTo(w, 4));
};
const run = (t: Trainable, of: ValueId, state: (p: Parameter) => Tensor = initial): Tensor =>
  evaluateGraph(t.b.build([of]), new Map([[t.inputs.get(x)!, sample], ...t.parameters.map((p) => [p.id, state(p)] as const)])).get(of)!;

/** Of the float network's convolutions on the sample, before their activations. */
const statistics = new Map(layersOf(g).filter((l) => l.node.op === 'conv').map((l): [string, ChannelStatistics] => {
  const bare = { ...g, nodes: g.nodes.map((n) => (n === l.node ? { ...n, attrs: { ...(n.attrs as object), activation: null } } : n)) };
  const y = toNumbers(evaluateGraph(bare, new Map([[x, sample]]), [l.output]).get(l.output)!);
  const of = (c: number): number[] => y.filter((_, i) => Math.floor(i / 36) % 4 === c);
  const mean = (v: readonly number[]): number => v.reduce((s, e) => s + e, 0) / v.length;
  const channels = [0, 1, 2, 3].map(of);
  return [l.name, { mean: Float32Array.from(channels, mean), variance: Float32Array.from(channels, (v) => mean(v.map((e) => (e - mean(v)) ** 2))) }];
}));
const batchStatistics = (t: Trainable, layer: Trainable['layers'][number], state: (p: Parameter) => Tensor): ChannelStatistics | null =>
  layer.norm && { mean: run(t, layer.norm.mean, state).data as Float32Array, variance: run(t, layer.norm.variance, state).data as Float32Array };

describe('trainable', () => {
  const wanted = [...evaluateGraph(g, new Map([[x, sample]])).values()][0];

  it('without statistics is the network itself, its weights and biases parameters', () => {
    const t = trainable(g, { decay: 0.1 });
    verifyGraph(t.b.build([t.values.get(g.outputs[0])!]), opTable);
    expect(t.parameters.map((p) => [p.name, p.decay])).toEqual([['first.weight', 0.1], ['first.bias', 0], ['second.weight', 0.1], ['third.weight', 0.1], ['last.weight', 0.1], ['last.bias', 0]]);
    close(run(t, t.values.get(g.outputs[0])!), wanted);
  });

  it('normalised begins as the float network, and folds back into it', () => {
    const t = trainable(g, { statistics });
    expect(t.parameters.map((p) => p.name)).toEqual(['first.weight', 'first.gamma', 'first.beta', 'second.weight', 'second.gamma', 'second.beta', 'third.weight', 'third.gamma', 'third.beta', 'last.weight', 'last.bias']);
    close(run(t, t.values.get(g.outputs[0])!), wanted);
    const folded = new Map(t.layers.map((l) => [l.layer.name, foldLayer(l, initial, initial(l.weight), batchStatistics(t, l, initial))]));
    for (const l of t.layers) close(folded.get(l.layer.name)!.weight, trainable(g).layers.find((m) => m.layer.name === l.layer.name)!.weight.initial);
    close([...evaluateGraph(replaceConstants(g, folded), new Map([[x, sample]])).values()][0], wanted);
  });

  it('normalised channels begin at one size, those of zeros as they are', () => {
    const dead = replaceConstants(g, new Map([['first', { weight: tensor('f32', [4, 3, 3, 3], (initial(trainable(g).layers[0].weight).data as Float32Array).map((v, i) => (i < 27 ? 0 : i < 54 ? 1e-9 * v : v))) }]]));
    const w = trainable(dead, { statistics }).layers[0].weight.initial.data as Float32Array;
    const norms = [0, 1, 2, 3].map((c) => Math.hypot(...w.subarray(27 * c, 27 * (c + 1))));
    norms.forEach((n, c) => expect(n).toBeCloseTo(c === 0 ? 0 : 1, 5));
  });

  it('trained and folded by the statistics of a batch gives on that batch what it gave in training', async () => {
    const t = trainable(g, { statistics });
    const logits = t.values.get(g.outputs[0])!;
    const targets = t.b.input('t', { dtype: 'f32', shape: [BATCH, 5] });
    const loss = losses.crossEntropy(t.b, logits, targets);
    const trainer = await Trainer.create({ graph: t.b.build([loss]), loss, parameters: t.parameters, watched: [] }, optimizers.adam(), { threads: 1 });
    const feeds = new Map([[t.inputs.get(x)!, sample], [targets, tensorOf('f32', [BATCH, 5], Array.from({ length: 5 * BATCH }, (_, i) => Number(i % 5 === Math.floor(i / 5))))]]);
    const curve: number[] = [];
    for (let i = 0; i < 20; i++) curve.push((await trainer.run(feeds, 0.02)).loss);
    expect(curve[19]).toBeLessThan(0.5 * curve[0]);
    const state = (p: Parameter): Tensor => trainer.parameter(p);
    const folded = new Map(t.layers.map((l) => [l.layer.name, foldLayer(l, state, state(l.weight), batchStatistics(t, l, state))]));
    close([...evaluateGraph(replaceConstants(g, folded), new Map([[x, sample]])).values()][0], run(t, logits, state));
    await trainer.close();
  });

  it('puts quantisers where it is told to', () => {
    const seen: string[] = [];
    const t = trainable(g, {
      weight: (b, l, w) => {
        seen.push(l.name);
        return b.add('neg', [w]);
      },
      value: (b, id, v) => (id === x ? b.add('neg', [v]) : v),
    });
    expect(seen).toEqual(['first', 'second', 'third', 'last']);
    const first = layersOf(g)[0].output;
    const plain = trainable(g);
    close(run(t, t.values.get(first)!), run(plain, plain.values.get(first)!)); // −w·−x
  });
});
