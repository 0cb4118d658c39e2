/** Sensitivities against their definitions, computed sample by sample with explicit gradients. */
import { DEFAULT_CALIBRATION, activationParams, collectHistograms, mergeHistograms, observedValues, weightParams } from '@bitloom/calibrate';
import type { DataSource } from '@bitloom/data';
import { type Graph, GraphBuilder, type ValueId, constantData, isConst, producers, valueOf } from '@bitloom/ir';
import { type Bits, fakeQuantize } from '@bitloom/numerics';
import { compose, createBuilder, evaluateGraph, opTable } from '@bitloom/ops';
import { Rng, type Tensor, elementCount, tensor, tensorOf, toNumbers } from '@bitloom/tensor';
import { STREAM_BITS, activationScheme, gradientGraph, markCandidates, quantizable, weightScheme } from '@bitloom/transforms';
import { describe, expect, it } from 'vitest';
import { type SearchProblem, type Sensitivities, classifierLogits, measureSensitivities } from './index.js';

/** f32 sums in another order, squared. */
const TOLERANCE = 2e-3;
const BITS = [2, 4] as const;

const normal = (shape: readonly number[], seed: number, size = 1): Tensor => {
  const rng = new Rng(seed);
  return tensor('f32', shape, Float32Array.from({ length: elementCount(shape) }, () => Math.fround(size * rng.normal())));
};
const sample = (shape: readonly number[], i: number): Tensor => normal(shape, 1000 + i);

/** Samples of one input x, the first `distinct` of them again and again. */
function source(shape: readonly number[], size: number, labels: ((i: number) => number) | null, distinct = size): DataSource {
  return {
    kind: 'test', size, labelled: labels !== null, fingerprint: 'test',
    async *samples(range = {}) {
      const indices = 'length' in range ? range : Array.from({ length: size }, (_, i) => i);
      for (const i of indices) yield { inputs: new Map([['x', sample(shape, i % distinct)]]), ...(labels ? { label: labels(i) } : {}) };
    },
  };
}

class Net {
  readonly b = createBuilder('net');
  private weights = 0;
  private const(shape: readonly number[], size: number): ValueId {
    return this.b.const(normal(shape, 50 + this.weights++, size));
  }
  conv(x: ValueId, name: string, outs: number, over: object = {}): ValueId {
    const attrs = { strides: [1, 1], dilations: [1, 1], pads: [1, 1, 1, 1], group: 1, ...over };
    const channels = this.b.shapeOf(x)[1] / attrs.group;
    const w = this.const([outs, channels, 3, 3], 1 / Math.sqrt(9 * channels));
    this.b.origin = name;
    return this.b.add('conv', [x, w, this.const([outs], 0.1)], attrs);
  }
  linear(x: ValueId, name: string, outs: number, over: object = {}): ValueId {
    const ins = this.b.shapeOf(x).at(-1)!;
    const w = this.const([outs, ins], 1 / Math.sqrt(ins));
    this.b.origin = name;
    return this.b.add('linear', [x, w], over);
  }
}

const X = [4, 6, 5];
/** Strides, groups, a fused relu, a residual, pooling, fully connected layers. */
function classifier(batch: number, end: 'logits' | 'softmax' | 'arg_max' = 'logits'): Graph {
  const n = new Net();
  const { b } = n;
  const x = b.input('x', { dtype: 'f32', shape: [batch, ...X] });
  const a = n.conv(x, 'grouped', 6, { strides: [2, 1], group: 2, activation: { min: 0, max: Infinity } });
  const r = compose.add(b, a, n.conv(a, 'depthwise', 6, { group: 6, activation: { min: -0.5, max: 1 } }));
  const p = b.add('max_pool', [b.add('tanh', [r])], { kernel: [3, 2], strides: [3, 2], pads: [0, 0, 0, 0], dilations: [1, 1], ceilExtra: [0, 0] });
  const h = n.linear(compose.reshapeTo(b, p, [batch, 12]), 'hidden', 5, { activation: { min: 0, max: Infinity } });
  const z = n.linear(h, 'logits', 3);
  const y = end === 'softmax' ? b.add('softmax', [z], { axis: 1 }) : end === 'arg_max' ? b.add('arg_max', [z],
    { axis: 1, keepdims: false, last: false }) : z;
  return b.build([y]);
}

/** No classifier: two outputs of different shapes. */
function regressor(batch: number): Graph {
  const n = new Net();
  const { b } = n;
  const x = b.input('x', { dtype: 'f32', shape: [batch, ...X] });
  const a = n.conv(x, 'first', 3, { activation: { min: 0, max: Infinity } });
  const map = n.conv(a, 'map', 2, { strides: [2, 2] });
  const values = n.linear(compose.reduceMean(b, a, [2, 3], false), 'values', 4);
  return b.build([map, b.add('sigmoid', [values])]);
}

async function problem(g: Graph, data: DataSource, over: Partial<SearchProblem> = {}): Promise<SearchProblem> {
  const { layers, groups } = quantizable(g);
  return {
    graph: markCandidates(g, BITS, BITS), layers, groups, weightBits: BITS, activationBits: BITS, pins: new Map(), budget: null, data,
    histograms: await collectHistograms(g, observedValues(g), data), training: null, calibration: { ...DEFAULT_CALIBRATION, biasCorrection: false }, seed: 3,
    progress: () => {}, ...over,
  };
}

const flat = (s: Sensitivities): Map<string, number> =>
  new Map(([['w', s.weights], ['a', s.activations]] as const).flatMap(([kind, table]) =>
    [...table].flatMap(([id, of]) => [...of].map(([bits, v]) => [`${kind} ${id} ${bits}`, v] as const))));

function expectClose(found: ReadonlyMap<string, number>, wanted: ReadonlyMap<string, number>, tolerance: number): void {
  expect([...found.keys()].sort()).toEqual([...wanted.keys()].sort());
  for (const [key, v] of wanted) {
    expect(v, key).toBeGreaterThan(0);
    expect(Math.abs(found.get(key)! / v - 1), `${key}: ${found.get(key)}, not ${v}`).toBeLessThan(tolerance);
  }
}

const crossEntropy = (b: GraphBuilder, logits: ValueId, label: number): ValueId =>
  compose.neg(b, compose.reduceSum(b, compose.sliceAxis(b, b.add('log_softmax', [logits], { axis: 1 }), 1, label, 1), [0, 1], false));

/** ΔW of each layer and Δa of each group on a sample, by key of {@link flat}; `site` is the value that moves. */
function deltas(p: SearchProblem, g: Graph, x: Tensor): { key: string; site: ValueId; delta: Float32Array }[] {
  const producer = producers(g);
  const values = evaluateGraph(g, new Map([[g.inputs[0], x]]), p.groups.map((a) => a.values[0]));
  const noise = (t: Tensor, q: Float32Array): Float32Array => q.map((v, i) => v - Number(t.data[i]));
  return [
    ...p.layers.flatMap((l) => BITS.map((bits: Bits) => {
      const w = constantData(producer, l.weight)!;
      return { key: `w ${l.name} ${bits}`, site: l.weight,
        delta: noise(w, fakeQuantize(w.data as Float32Array, w.shape, weightParams(w, weightScheme(bits), 'mse'))) };
    })),
    ...p.groups.flatMap((a) => (a.layers.length > 0 ? BITS : [STREAM_BITS]).map((bits: Bits) => {
      const t = values.get(a.values[0])!;
      const q = activationParams(mergeHistograms(a.values.map((v) => p.histograms.get(v)!)), activationScheme(bits), p.calibration);
      return { key: `a ${a.id} ${bits}`, site: a.values[0], delta: noise(t, fakeQuantize(t.data as Float32Array, t.shape, q)) };
    })),
  ];
}

/** ½ Σ_y weight(n, y) ⟨∇ℓ(x_n, y), Δ⟩², averaged over samples: explicit gradients of every weight and activation. */
function fisher(p: SearchProblem, samples: number, weight: (probabilities: readonly number[], n: number) => readonly number[]): Map<string, number> {
  const g = classifier(1);
  const [logits] = g.outputs;
  const total = new Map<string, number>();
  for (let n = 0; n < samples; n++) {
    const x = tensor('f32', [1, ...X], sample(X, n).data);
    const z = toNumbers(evaluateGraph(g, new Map([[g.inputs[0], x]])).get(logits)!);
    const e = z.map((v) => Math.exp(v));
    const moved = deltas(p, g, x);
    weight(e.map((v) => v / e.reduce((s, u) => s + u)), n).forEach((k, label) => {
      if (k === 0) return;
      const b = GraphBuilder.from(g, opTable);
      const loss = crossEntropy(b, logits, label);
      const sites = [...new Set(moved.map((m) => m.site))];
      const dg = gradientGraph(b.build([loss]), loss, sites);
      const grads = evaluateGraph(dg, new Map([[g.inputs[0], x]]));
      for (const m of moved) {
        const d = grads.get(dg.outputs[sites.indexOf(m.site)])!;
        const dot = m.delta.reduce((s, v, i) => s + v * Number(d.data[i]), 0);
        total.set(m.key, (total.get(m.key) ?? 0) + (k * dot * dot) / (2 * samples));
      }
    });
  }
  return total;
}

describe('sensitivities of a classifier', () => {
  const labels = (i: number): number => (i * 7) % 3;

  it('are the empirical Fisher form: explicit gradients per sample, labels of the data', async () => {
    const p = await problem(classifier(4), source(X, 10, labels));
    const wanted = fisher(p, 10, (_, n) => [0, 1, 2].map((y) => Number(y === labels(n))));
    // What no layer reads has 8 bits, and no choice.
    expect(p.groups.map((a) => a.layers.length > 0)).toEqual([true, true, false, true, true]);
    expect(wanted.size).toBe(2 * (4 + 4) + 1);
    expectClose(flat(await measureSensitivities(p)), wanted, TOLERANCE);
  });

  it('do not depend on the batch size, nor on how the classifier ends', async () => {
    for (const labelled of [true, false]) {
      const data = source(X, 7, labelled ? labels : null);
      const wanted = flat(await measureSensitivities(await problem(classifier(1), data)));
      for (const batch of [3, 7, 10]) expectClose(flat(await measureSensitivities(await problem(classifier(batch), data))), wanted, TOLERANCE);
      for (const end of ['softmax', 'arg_max'] as const) {
        expectClose(flat(await measureSensitivities(await problem(classifier(3, end), data))), wanted, TOLERANCE);
      }
    }
  });

  it('without labels draw them from the model: the true Fisher form in expectation, the same for the same seed', async () => {
    const data = source(X, 3000, null, 3);
    const p = await problem(classifier(100), data);
    const found = await measureSensitivities(p);
    expectClose(flat(found), fisher(p, 3, (probabilities) => probabilities), 0.12);
    expect(await measureSensitivities(p)).toEqual(found);
    expect(await measureSensitivities({ ...p, seed: 4 })).not.toEqual(found);
  });

  it('leave out the mean error per channel where bias correction removes it', async () => {
    const g = classifier(8);
    const data = source(X, 8, labels);
    const p = await problem(g, data);
    const on = { ...p, calibration: { ...p.calibration, biasCorrection: true } };
    // What the correction does to the first layer, applied to its bias: ΔW and Δb together.
    const wanted = flat(await measureSensitivities(p));
    const found = flat(await measureSensitivities(on));
    const b = GraphBuilder.from(g, opTable);
    const [first] = p.layers;
    const x = tensor('f32', [8, ...X], Float32Array.from({ length: 8 * 120 }, (_, i) => Number(sample(X, Math.floor(i / 120)).data[i % 120])));
    const w = constantData(producers(g), first.weight)!;
    const q = fakeQuantize(w.data as Float32Array, w.shape, weightParams(w, weightScheme(2), 'mse'));
    const y = b.add('conv', [first.input, b.const(tensor('f32', w.shape, q.map((v, i) => v - Number(w.data[i]))))],
      { ...(first.node.attrs as object), activation: null });
    const mean = compose.reduceMean(b, y, [0, 2, 3], true);
    const shift = toNumbers(evaluateGraph(b.build([mean]), new Map([[g.inputs[0], x]])).get(mean)!);
    const dot = (n: number): number => {
      const one = classifier(1);
      const c = GraphBuilder.from(one, opTable);
      const loss = crossEntropy(c, one.outputs[0], labels(n));
      const bias = one.nodes.find((m) => m.origin === 'grouped' && !isConst(m))!.inputs[2];
      const dg = gradientGraph(c.build([loss]), loss, [first.weight, bias]);
      const at = new Map([[one.inputs[0], tensor('f32', [1, ...X], sample(X, n).data)]]);
      const [dw, db] = dg.outputs.map((o) => toNumbers(evaluateGraph(dg, at, [o]).get(o)!));
      return dw.reduce((s, v, i) => s + v * (q[i] - Number(w.data[i])), 0) - db.reduce((s, v, i) => s + v * shift[i], 0);
    };
    const expected = Array.from({ length: 8 }, (_, n) => dot(n) ** 2).reduce((s, v) => s + v) / 16;
    expect(Math.abs(found.get('w grouped 2')! / expected - 1)).toBeLessThan(TOLERANCE);
    for (const [key, v] of wanted) if (key.startsWith('a')) expect(found.get(key)).toBe(v);
  });

  it('measure pinned layers at their bits only', async () => {
    const p = await problem(classifier(2), source(X, 2, labels), { pins: new Map([['hidden', { weights: 8, activations: 8 }]]) });
    const found = await measureSensitivities(p);
    expect([...found.weights].map(([l, of]) => [l, [...of.keys()]])).toEqual([['grouped', [2, 4]], ['depthwise', [2, 4]], ['hidden', [8]],
      ['logits', [2, 4]]]);
  });

  it('refuse labels outside the classes (E302)', async () => {
    for (const bad of [3, -1]) {
      const p = await problem(classifier(2), source(X, 4, () => bad));
      await expect(measureSensitivities(p)).rejects.toThrowError(expect.objectContaining({ code: 'E302' }));
    }
  });
});

describe('sensitivities of other models', () => {
  it('are the Gauss–Newton form ½‖JΔ‖² in expectation over the probes', async () => {
    const p = await problem(regressor(100), source(X, 3000, null, 3));
    const g = regressor(1);
    const wanted = new Map<string, number>();
    const h = 1 / 64;
    for (let n = 0; n < 3; n++) {
      const x = tensor('f32', [1, ...X], sample(X, n).data);
      for (const { key, site, delta } of deltas(p, g, x)) {
        // The outputs as functions of one value alone, moved along Δ.
        const base = evaluateGraph(g, new Map([[g.inputs[0], x]]), [site]).get(site)!;
        const cut: Graph = { ...g, inputs: [...g.inputs.filter((i) => i !== site), site], nodes: g.nodes.filter((m) => !m.outputs.includes(site)) };
        const at = (k: number): number[] => {
          const moved = tensor('f32', base.shape, Float32Array.from(delta, (d, i) => Number(base.data[i]) + k * d));
          return [...evaluateGraph(cut, new Map([[g.inputs[0], x], [site, moved]])).values()].flatMap(toNumbers);
        };
        const [up, down] = [at(h), at(-h)];
        wanted.set(key, (wanted.get(key) ?? 0) + up.reduce((s, v, i) => s + ((v - down[i]) / (2 * h)) ** 2, 0) / 6);
      }
    }
    expectClose(flat(await measureSensitivities(p)), wanted, 0.12);
  });

  it('do not depend on the batch size, though there are several outputs', async () => {
    const data = source(X, 7, null);
    const wanted = flat(await measureSensitivities(await problem(regressor(1), data)));
    for (const batch of [2, 7, 9]) expectClose(flat(await measureSensitivities(await problem(regressor(batch), data))), wanted, TOLERANCE);
  });

  it('zero for what does not reach an output', async () => {
    const n = new Net();
    const x = n.b.input('x', { dtype: 'f32', shape: [2, ...X] });
    const lost = n.b.add('floor', [n.conv(x, 'lost', 2)]);
    const kept = n.conv(x, 'kept', 2);
    const found = await measureSensitivities(await problem(n.b.build([n.conv(n.b.add('concat', [lost, kept], { axis: 1 }), 'end', 1)]),
      source(X, 2, null)));
    expect([...found.weights.get('lost')!.values()]).toEqual([0, 0]);
    expect([...found.weights.get('kept')!.values()].every((v) => v > 0)).toBe(true);
  });

  it('refuse models without a float output (E403) and overflow (E208)', async () => {
    const n = new Net();
    const x = n.b.input('x', { dtype: 'f32', shape: [2, ...X] });
    const index = n.b.const(tensorOf('i64', [2], [0, 1]));
    const y = n.linear(x, 'layer', 2);
    const p = await problem(n.b.build([y]), source(X, 2, null));
    const indices = { ...p, graph: { ...p.graph, outputs: [index] } };
    await expect(measureSensitivities(indices)).rejects.toThrowError(expect.objectContaining({ code: 'E403' }));

    const huge = new Net();
    const v = huge.b.input('x', { dtype: 'f32', shape: [2, ...X] });
    const scaled = compose.scale(huge.b, huge.linear(compose.scale(huge.b, v, 1e-30), 'layer', 2), 1e38);
    const q = await problem(huge.b.build([compose.scale(huge.b, compose.scale(huge.b, scaled, 1e30), 1e30)]), source(X, 2, null));
    await expect(measureSensitivities(q)).rejects.toThrowError(expect.objectContaining({ diagnostic: expect.objectContaining({ code: 'E208' }) }));
  });
});

describe('classifierLogits', () => {
  const of = (build: (b: GraphBuilder, x: ValueId) => ValueId[], shape = [2, 6]): string | null => {
    const b = createBuilder('g');
    const g = b.build(build(b, b.input('x', { dtype: 'f32', shape })));
    const id = classifierLogits(g);
    return id === null ? null : valueOf(g, id).type.shape.join();
  };
  const w = (b: GraphBuilder, n: number, k = 6): ValueId => b.const(tensorOf('f32', [n, k], new Float32Array(n * k)));

  it('finds [batch, classes] outputs and the operand of a closing softmax', () => {
    expect(of((b, x) => [b.add('linear', [x, w(b, 3)])])).toBe('2,3');
    expect(of((b, x) => [b.add('softmax', [b.add('linear', [x, w(b, 3)])], { axis: 1 })])).toBe('2,3');
    expect(of((b, x) => [b.add('log_softmax', [b.add('linear', [x, w(b, 6)])], { axis: 1 })])).toBe('2,6');
  });

  it('but no autoencoder, single number, map, several outputs or integers', () => {
    expect(of((b, x) => [b.add('linear', [x, w(b, 6)])])).toBe(null);
    expect(of((b, x) => [b.add('linear', [x, w(b, 1)])])).toBe(null);
    expect(of((b, x) => [b.add('softmax', [x], { axis: 2 })], [2, 3, 4])).toBe(null);
    expect(of((b, x) => [b.add('linear', [x, w(b, 3)]), b.add('linear', [x, w(b, 4)])])).toBe(null);
    expect(of((b, x) => [b.add('cast', [b.add('linear', [x, w(b, 3)])], { to: 'i64' })])).toBe(null);
    expect(of((b, x) => [b.add('linear', [compose.reshapeTo(b, x, [3, 4]), w(b, 2, 4)])])).toBe(null);
  });
});
