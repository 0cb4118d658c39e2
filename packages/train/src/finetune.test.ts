import type { DataSource } from '@bitloom/data';
import type { GraphBuilder, ValueId } from '@bitloom/ir';
import { quantize } from '@bitloom/numerics';
import { createBuilder, evaluateGraph } from '@bitloom/ops';
import { Rng, type Tensor, elementCount, tensor, toNumbers } from '@bitloom/tensor';
import { activationScheme, layersOf, replaceConstants, weightScheme } from '@bitloom/transforms';
import { describe, expect, it } from 'vitest';
import { type FinetuneOptions, fakeQuantized, finetune, largest, outputStatistics } from './index.js';

const normal = (rng: Rng, shape: readonly number[], size = 1): Tensor => tensor('f32', shape, Float32Array.from({ length: elementCount(shape) }, () => size * rng.normal()));
const BATCH = 16;

const conv = (b: GraphBuilder, rng: Rng, x: ValueId, outs: number): ValueId => {
  const w = b.const(normal(rng, [outs, b.shapeOf(x)[1], 3, 3], 0.3));
  b.origin = `conv${outs}`;
  return b.add('conv', [x, w, b.const(normal(rng, [outs], 0.2))], { strides: [1, 1], dilations: [1, 1], pads: [1, 1, 1, 1], group: 1, activation: { min: 0, max: Infinity } });
};

const rng = new Rng(3);
const b = createBuilder('net');
const x = b.input('x', { dtype: 'f32', shape: [BATCH, 2, 4, 4] });
const hidden = conv(b, rng, x, 6);
const last = conv(b, rng, hidden, 5);
const flat = b.add('reshape', [last], { shape: [BATCH, 80] });
b.origin = 'fc';
const g = b.build([b.add('linear', [flat, b.const(normal(rng, [3, 80], 0.2)), b.const(normal(rng, [3]))], { activation: null })]);
const [logits] = g.outputs;

/** Samples with the answers of the float network as labels. */
const images = normal(rng, [160, 2, 4, 4]);
const SIZE = 32;
const labels = Array.from({ length: 160 / BATCH }, (_, i) =>
  largest(evaluateGraph(g, new Map([[x, tensor('f32', [BATCH, 2, 4, 4], (images.data as Float32Array).slice(i * BATCH * SIZE, (i + 1) * BATCH * SIZE))]])).get(logits)!)).flat();
const data: DataSource = {
  kind: 'test', size: 160, labelled: true, fingerprint: 'f',
  async *samples(range = {}) {
    for (const i of 'length' in range ? range : labels.keys()) {
      yield { inputs: new Map([['x', tensor('f32', [2, 4, 4], (images.data as Float32Array).slice(i * SIZE, (i + 1) * SIZE))]]), label: labels[i] };
    }
  },
};
const channels = (n: number, scale: number): { scheme: ReturnType<typeof weightScheme>; scale: Float32Array; zeroPoint: Int32Array } =>
  ({ scheme: weightScheme(2), scale: new Float32Array(n).fill(scale), zeroPoint: new Int32Array(n) });
const step = (scale: number): { scheme: ReturnType<typeof activationScheme>; scale: Float32Array; zeroPoint: Int32Array } =>
  ({ scheme: activationScheme(2), scale: Float32Array.of(scale), zeroPoint: Int32Array.of(0) });
const layers = layersOf(g);
const params = new Map([[layers[0].weight, channels(6, 0.3)], [layers[1].weight, channels(5, 0.3)], [hidden, step(0.6)], [last, step(0.6)]]);
const options: FinetuneOptions = { epochs: 12, rate: 0.05, stepRate: 1, warmUp: 0.1, decay: 1e-4, clip: 5, smoothing: 0, distillation: 0.5, temperature: 2, augmentation: null, seed: 4, device: 'cpu' };

describe('finetune', () => {
  it('learns at two bits; what it gives is on its grids, and gives what was evaluated', async () => {
    const seen: number[] = [];
    const share = (n: Awaited<ReturnType<typeof finetune>>['network']): number => {
      const q = fakeQuantized(replaceConstants(g, n.layers), new Map([hidden, last].map((id) => [id, n.params.get(id)!])));
      let right = 0;
      for (let i = 0; i < 160 / BATCH; i++) {
        const part = tensor('f32', [BATCH, 2, 4, 4], (images.data as Float32Array).slice(i * BATCH * SIZE, (i + 1) * BATCH * SIZE));
        right += largest(evaluateGraph(q, new Map([[x, part]])).get(logits)!).filter((c, k) => c === labels[i * BATCH + k]).length;
      }
      return right / 160;
    };
    const { network, log } = await finetune({ graph: g, logits, params, data }, options, {
      identity: 'a', store: null, saveEvery: 10, evaluate: async (n) => (seen.push(share(n)), share(n)),
    });
    expect(log).toHaveLength(12);
    expect(log.map((l) => l.evaluated)).toEqual(seen);
    expect(log[11].loss).toBeLessThan(0.8 * log[0].loss);
    expect(seen[11]).toBeGreaterThan(0.75);
    for (const l of layers.slice(0, 2)) {
      const w = network.layers.get(l.name)!.weight!;
      const q = network.params.get(l.weight)!;
      const codes = quantize(w.data as Float32Array, w.shape, q);
      const per = w.data.length / w.shape[0];
      codes.forEach((c, i) => expect(c * q.scale[Math.floor(i / per)]).toBeCloseTo(toNumbers(w)[i], 5));
      expect(new Set(codes).size).toBeGreaterThan(2);
    }
  });

  it('measures the float network as it is', async () => {
    const statistics = await outputStatistics(g, data);
    expect([...statistics.keys()]).toEqual(['conv6', 'conv5']);
    const bare = { ...g, nodes: g.nodes.map((n) => (n.op === 'conv' ? { ...n, attrs: { ...(n.attrs as object), activation: null } } : n)) };
    const values: number[][] = Array.from({ length: 6 }, () => []);
    for (let i = 0; i < 160 / BATCH; i++) {
      const part = tensor('f32', [BATCH, 2, 4, 4], (images.data as Float32Array).slice(i * BATCH * SIZE, (i + 1) * BATCH * SIZE));
      toNumbers(evaluateGraph(bare, new Map([[x, part]]), [hidden]).get(hidden)!).forEach((v, k) => values[Math.floor(k / 16) % 6].push(v));
    }
    const { mean, variance } = statistics.get('conv6')!;
    values.forEach((v, c) => {
      const m = v.reduce((s, e) => s + e, 0) / v.length;
      expect(mean[c]).toBeCloseTo(m, 4);
      expect(variance[c]).toBeCloseTo(v.reduce((s, e) => s + (e - m) ** 2, 0) / v.length, 4);
    });
  });
});
