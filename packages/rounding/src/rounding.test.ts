import { type Graph, type GraphBuilder, type ValueId, constantData, producers, typeOf, verifyGraph } from '@bitloom/ir';
import { type QuantParams, codeRange, fakeQuantize, quantize } from '@bitloom/numerics';
import { compose, createBuilder, evaluateGraph, opTable } from '@bitloom/ops';
import { Rng, type Tensor, tensor, toNumbers } from '@bitloom/tensor';
import { layersOf, replaceConstants, weightScheme } from '@bitloom/transforms';
import { describe, expect, it } from 'vitest';
import { MAX_COLUMNS, Moments, type RoundingOptions, Twins, learnRounding, nearest, outputErrors } from './index.js';
import { addConv, paramsOf, random, single, sourceOf } from './networks.test.util.js';

const OPTIONS: RoundingOptions = { seed: 1, biasCorrection: true };

/** Values of all samples, in the given batches, of a float graph that clips as the quantised one, and with fake quantisers in it. */
async function outputs(
  g: Graph, params: ReadonlyMap<ValueId, QuantParams>, size: number, shape: readonly number[], watched: ValueId,
): Promise<{ float: number[]; quantised: number[] }> {
  const producer = producers(g);
  const found = { float: [] as number[], quantised: [] as number[] };
  const [x] = g.inputs;
  const batch = typeOf(g, x).shape[0];
  const data: Tensor[] = [];
  for await (const s of sourceOf(size, shape).samples()) data.push(s.inputs.get('x')!);
  for (let from = 0; from < size; from += batch) {
    const stacked = tensor('f32', typeOf(g, x).shape, Float32Array.from(data.slice(from, from + batch).flatMap((t) => toNumbers(t))));
    for (const network of ['float', 'quantised'] as const) {
      // Node by node, clipping activations or quantising what has parameters.
      const known = new Map<ValueId, Tensor>();
      const define = (id: ValueId, t: Tensor): void => {
        const q = params.get(id);
        const data = t.data as Float32Array;
        if (!q || (network === 'float' && constantData(producer, id))) known.set(id, t);
        else if (network === 'quantised') known.set(id, tensor('f32', t.shape, fakeQuantize(data, t.shape, q)));
        else known.set(id, tensor('f32', t.shape, data.map((v) => Math.min((codeRange(q.scheme).hi - q.zeroPoint[0]) * q.scale[0], Math.max(-q.zeroPoint[0] * q.scale[0], v)))));
      };
      define(x, stacked);
      for (const n of g.nodes) {
        const t = constantData(producer, n.outputs[0]);
        if (t) define(n.outputs[0], t);
        else for (const [id, v] of evaluateGraph({ ...g, nodes: [n], inputs: [...new Set(n.inputs)], outputs: n.outputs }, known)) define(id, v);
      }
      found[network].push(...toNumbers(known.get(watched)!));
    }
  }
  return found;
}

const strides = [2, 2];
const LAYERS: readonly (readonly [string, readonly number[], (b: GraphBuilder, x: ValueId) => ValueId])[] = [
  ['convolution', [3, 6, 5], (b, x) => addConv(b, x, 'layer', random([4, 3, 3, 3], 1), {}, random([4], 2))],
  ['strided, padded unevenly', [3, 7, 6], (b, x) => addConv(b, x, 'layer', random([4, 3, 3, 2], 1), { strides, pads: [0, 1, 2, 0] })],
  ['dilated', [2, 7, 7], (b, x) => addConv(b, x, 'layer', random([3, 2, 3, 3], 1), { dilations: [2, 1], pads: [0, 0, 0, 0] })],
  ['grouped', [4, 5, 5], (b, x) => addConv(b, x, 'layer', random([6, 2, 3, 3], 1), { group: 2, strides })],
  ['depthwise', [4, 5, 5], (b, x) => addConv(b, x, 'layer', random([4, 1, 3, 3], 1), { group: 4 })],
  ['depthwise, two channels of each', [3, 5, 5], (b, x) => addConv(b, x, 'layer', random([6, 1, 3, 3], 1), { group: 3 })],
  ['of one axis', [3, 9], (b, x) => addConv(b, x, 'layer', random([4, 3, 3], 1), { strides: [2] })],
  ['pointwise', [5, 3, 3], (b, x) => addConv(b, x, 'layer', random([4, 5, 1, 1], 1), { pads: [0, 0, 0, 0] })],
  ['fully connected', [7], (b, x) => b.add('linear', [x, b.const(random([4, 7], 1)), b.const(random([4], 2))])],
  ['fully connected on tokens', [3, 7], (b, x) => b.add('linear', [x, b.const(random([4, 7], 1))])],
];

describe('the quadratic form', () => {
  it.each(LAYERS)('is the output error: %s', async (_, shape, add) => {
    const size = 6;
    const g = single(3, shape, add);
    const params = await paramsOf(g, sourceOf(size, shape), 3, 4);
    const [l] = layersOf(g);
    const weight = constantData(producers(g), l.weight)!;
    const twins = new Twins(g, params, new Map(), sourceOf(size, shape), 1e9);
    const moments = new Moments(l.node, weight, { x: typeOf(g, l.input).shape, y: typeOf(g, l.output).shape }, twins.batches, Infinity, true, new Rng(1));
    await twins.run(l.node, (b, f, q) => moments.probe(b, f(l.input), q(l.input)), () => moments.next(), (r) => moments.add(r));
    const { float, quantised } = await outputs(g, params, size, shape, l.output);
    const linear = l.node.op === 'linear';
    const y = typeOf(g, l.output).shape;
    const channels = weight.shape[0];
    const positions = linear ? 1 : y.slice(2).reduce((a, d) => a * d, 1);
    const errors = float.map((v, i) => [Math.floor(i / positions) % channels, quantised[i] - v] as const);
    const count = float.length / channels;
    const sums = (f: (e: number) => number): number[] => {
      const s = new Array<number>(channels).fill(0);
      errors.forEach(([c, e]) => (s[c] += f(e) / count));
      return s;
    };
    const [mean, square] = [sums((e) => e), sums((e) => e * e)];
    for (const centred of [false, true]) {
      const p = moments.quadratic(centred);
      const found = outputErrors(p, nearest(p, params.get(l.weight)!));
      found.forEach((e, c) => expect(e / (square[c] - (centred ? mean[c] ** 2 : 0)), `${centred} ${c}`).toBeCloseTo(1, 3));
    }
  });
});

const SHAPE = [3, 8, 8];
/** conv → depthwise → conv + shortcut → pool → two layers with one weight. */
function network(batch: number): Graph {
  const b = createBuilder('net');
  const x = b.input('x', { dtype: 'f32', shape: [batch, ...SHAPE] });
  const a = addConv(b, x, 'first', random([8, 3, 3, 3], 1), { activation: { min: 0, max: Infinity } }, random([8], 2));
  const d = b.add('relu', [addConv(b, a, 'second', random([8, 1, 3, 3], 3), { group: 8 })]);
  const e = addConv(b, d, 'third', random([8, 8, 1, 1], 4), { pads: [0, 0, 0, 0] }, random([8], 5));
  const sum = b.add('relu', [b.add('add', [a, e])]);
  const mean = compose.reduceMean(b, sum, [2, 3], false);
  const shared = b.const(random([8, 8], 6));
  b.origin = 'loop';
  const h = b.add('tanh', [b.add('linear', [mean, shared])]);
  const i = b.add('tanh', [b.add('linear', [h, shared])]);
  b.origin = 'last';
  return b.build([b.add('linear', [i, b.const(random([4, 8], 7)), b.const(random([4], 8))])]);
}

describe('learnRounding', () => {
  const data = sourceOf(24, SHAPE);

  it('gives codes of less error for every layer, and a network nearer to the float one', async () => {
    const g = network(8);
    const params = await paramsOf(g, data, 3, 8);
    const steps: [string, number, number][] = [];
    const rounded = await learnRounding(g, params, data, { ...OPTIONS, progress: (...p) => steps.push(p) });
    expect([...rounded.keys()]).toEqual(['first', 'second', 'third', 'loop', 'loop#2', 'last']);
    expect(steps.at(-1)).toEqual(['rounding', 6, 6]);
    const producer = producers(g);
    for (const l of layersOf(g)) {
      const { weight, params: q, errors } = rounded.get(l.name)!;
      if (l.name.startsWith('loop')) {
        expect([weight, errors, q]).toEqual([undefined, null, params.get(l.weight)]);
        continue;
      }
      // What is on the grid stays there.
      expect(fakeQuantize(weight!.data as Float32Array, weight!.shape, q)).toEqual(weight!.data);
      expect(Math.max(...quantize(weight!.data as Float32Array, weight!.shape, q))).toBeLessThanOrEqual(3);
      expect(errors!.found).toBeLessThan(0.95 * errors!.nearest);
    }
    const activations = new Map([...params].filter(([id]) => constantData(producer, id) === null));
    const error = async (constants: Parameters<typeof replaceConstants>[1]): Promise<number> => {
      const h = replaceConstants(g, constants);
      verifyGraph(h, opTable);
      const [{ float }, { quantised }] = [await outputs(g, new Map(), 24, SHAPE, g.outputs[0]), await outputs(h, activations, 24, SHAPE, h.outputs[0])];
      return float.reduce((s, v, i) => s + (v - quantised[i]) ** 2, 0);
    };
    const plain = new Map(layersOf(g).map((l) => {
      const w = constantData(producer, l.weight)!;
      return [l.name, { weight: tensor('f32', w.shape, fakeQuantize(w.data as Float32Array, w.shape, params.get(l.weight)!)) }];
    }));
    const found = new Map([...rounded].map(([name, r]) => [name, r.weight ? r : { ...plain.get(name)!, bias: r.bias }]));
    expect(await error(found)).toBeLessThan(0.8 * (await error(plain)));
  });

  it('is the same again, and with nothing kept between the layers; seeds draw other positions', async () => {
    const g = network(8);
    const params = await paramsOf(g, data, 3, 8);
    const run = (o: Partial<RoundingOptions>): ReturnType<typeof learnRounding> => learnRounding(g, params, data, { ...OPTIONS, positions: 400, ...o });
    const once = await run({});
    expect(await run({})).toEqual(once);
    const again = await run({ room: 0 });
    expect(again.get('first')).toEqual(once.get('first'));
    // onnxruntime fuses what it sees at once, and the last bits differ.
    for (const [name, l] of again) if (l.errors) expect(l.errors.found / once.get(name)!.errors!.found, name).toBeCloseTo(1, 1);
    expect(await run({ seed: 2 })).not.toEqual(once);
  });

  it('leaves biases and fixed weights alone where it should, and says which layers are too wide', async () => {
    const b = createBuilder('wide');
    const x = b.input('x', { dtype: 'f32', shape: [4, MAX_COLUMNS + 1] });
    b.origin = 'wide';
    const y = b.add('tanh', [b.add('linear', [x, b.const(random([2, MAX_COLUMNS + 1], 1))])]);
    b.origin = 'narrow';
    const g = b.build([b.add('linear', [y, b.const(random([3, 2], 2)), b.const(random([3], 3))])]);
    const wide = sourceOf(8, [MAX_COLUMNS + 1]);
    const params = await paramsOf(g, wide, 4, 8);
    const warnings: string[] = [];
    const [first, second] = layersOf(g);
    const rounded = await learnRounding(g, params, wide, { ...OPTIONS, biasCorrection: false, fixed: new Set([second.weight]), warn: (w) => warnings.push(w) });
    expect(warnings).toEqual([expect.stringMatching(/^wide: 8193 weights a channel/)]);
    for (const l of [first, second]) {
      const { weight, bias, errors, params: q } = rounded.get(l.name)!;
      expect([weight, bias, errors, q]).toEqual([undefined, undefined, null, params.get(l.weight)]);
    }
  });

  it('learns nothing from infinities', async () => {
    const g = single(4, [6], (b, x) => b.add('linear', [b.add('div', [x, b.add('relu', [x])]), b.const(random([3, 6], 1))]));
    const [l] = layersOf(g);
    const params = new Map([[l.weight, { scheme: weightScheme(3), scale: Float32Array.of(1, 1, 1), zeroPoint: new Int32Array(3) }]]);
    const warnings: string[] = [];
    const rounded = await learnRounding(g, params, sourceOf(8, [6]), { ...OPTIONS, warn: (w) => warnings.push(w) });
    expect(warnings).toEqual([expect.stringContaining('infinite or undefined')]);
    expect(rounded.get(l.name)).toEqual({ weight: undefined, params: params.get(l.weight), errors: null });
  });
});
