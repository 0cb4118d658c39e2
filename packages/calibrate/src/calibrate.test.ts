import type { DataSource } from '@bitloom/data';
import { type Graph, type GraphBuilder, type ValueId, constantData, producers, valueOf, verifyGraph } from '@bitloom/ir';
import { type Bits, type QuantParams, fakeQuantize } from '@bitloom/numerics';
import { compose, createBuilder, evaluateGraph, opTable } from '@bitloom/ops';
import { Rng, type Tensor, elementCount, tensor, tensorOf, toNumbers } from '@bitloom/tensor';
import { activationScheme, applyAssignment, applyCalibration, layersOf, markCandidates, quantizable, weightScheme } from '@bitloom/transforms';
import { describe, expect, it } from 'vitest';
import { BINS, DEFAULT_CALIBRATION, batchOf, chooseParams, collectHistograms, correctedBiases, graphBatches, observedValues, weightParams } from './index.js';
import { sourceOf } from './source.test.util.js';

const random = (shape: readonly number[], seed: number, shift = 0): Tensor => {
  const rng = new Rng(seed);
  return tensor('f32', shape, Float32Array.from({ length: elementCount(shape) }, () => rng.normal() + shift));
};

const SHAPE = [3, 6, 5];
/** `size` labelled samples of the input x; sample 0 is unlike the others. */
const source = (size: number): DataSource => sourceOf(size, true, (i) => ({ inputs: new Map([['x', random(SHAPE, i, i === 0 ? 4 : 0.5)]]), label: i }));

const conv = (b: GraphBuilder, x: ValueId, name: string, outs: number, seed: number, over: object = {}, bias: Tensor | null = null): ValueId => {
  const attrs = { strides: [1, 1], dilations: [1, 1], pads: [1, 1, 1, 1], group: 1, ...over };
  const w = b.const(random([outs, b.shapeOf(x)[1] / attrs.group, 3, 3], seed));
  b.origin = name;
  return b.add('conv', [x, w, ...(bias ? [b.const(bias)] : [])], attrs);
};

/** conv → relu → depthwise → pool → two linear layers, biases here and there, one constant in two places. */
function network(batch: number): Graph {
  const b = createBuilder('net');
  const x = b.input('x', { dtype: 'f32', shape: [batch, ...SHAPE] });
  const a = conv(b, x, 'first', 4, 11, { strides: [2, 2], activation: { min: 0, max: Infinity } }, random([4], 12));
  const d = conv(b, a, 'second', 4, 13, { group: 4 });
  const flat = compose.reshapeTo(b, b.add('relu', [d]), [batch, 36]);
  const shared = b.const(random([3], 15));
  b.origin = 'third';
  const y = b.add('linear', [flat, b.const(random([3, 36], 16)), shared]);
  b.origin = 'fourth';
  const z = b.add('linear', [b.add('tanh', [y]), b.const(random([3, 3], 17)), shared]);
  const tokens = compose.reshapeTo(b, b.add('concat', [z, b.add('relu', [z])], { axis: 1 }), [batch, 2, 3]);
  b.origin = 'fifth';
  return b.build([b.add('linear', [tokens, b.const(random([2, 3], 18))]), shared]);
}

const chosen = (g: Graph, bits: Bits): Graph =>
  applyAssignment(markCandidates(g, [bits], [8]), new Map([
    ...layersOf(g).map((l) => [l.weight, weightScheme(bits)] as const),
    ...quantizable(g).groups.flatMap((a) => a.values.map((v) => [v, activationScheme(8)] as const)),
  ]));

/** All samples at once. */
async function all(data: DataSource): Promise<Tensor> {
  const parts: number[] = [];
  for await (const s of data.samples()) parts.push(...toNumbers(s.inputs.get('x')!));
  return tensorOf('f32', [data.size, ...SHAPE], parts);
}

describe('graphBatches', () => {
  it.each([[1, 5], [2, 5], [4, 8], [5, 3], [7, 7]])('batches of %i from %i samples: each sample counts once', async (batch, size) => {
    const g = network(batch);
    const seen: number[] = [];
    for await (const b of graphBatches(g, source(size))) {
      const t = b.inputs.get(g.inputs[0])!;
      expect(t.shape).toEqual([batch, ...SHAPE]);
      expect(b.labels!.length).toBe(batch);
      for (let n = 0; n < batch; n++) {
        const wanted = random(SHAPE, b.labels![n], b.labels![n] === 0 ? 4 : 0.5);
        expect([...(t.data as Float32Array).subarray(n * 90, (n + 1) * 90)]).toEqual(toNumbers(wanted));
      }
      seen.push(...b.labels!.subarray(0, b.count));
    }
    expect(seen).toEqual(Array.from({ length: size }, (_, i) => i));
  });

  it('refuses an empty source (E303) and data without an input (E302)', async () => {
    const first = async (s: DataSource): Promise<unknown> => graphBatches(network(2), s).next();
    await expect(first(source(0))).rejects.toThrowError(expect.objectContaining({ code: 'E303' }));
    const other = sourceOf(1, false, () => ({ inputs: new Map([['y', random(SHAPE, 1)]]) }));
    await expect(first(other)).rejects.toThrowError(expect.objectContaining({ code: 'E302' }));
  });

  it('the batch size is the leading dimension of the first input', () => {
    expect(batchOf(network(6))).toBe(6);
    expect(batchOf(createBuilder('none').build([]))).toBe(1);
  });
});

describe('collectHistograms', () => {
  it('sees each sample once, whatever the batch size', async () => {
    const data = source(5);
    const one = network(1);
    const reference = await collectHistograms(one, observedValues(one), data);
    for (const batch of [2, 3, 5, 8]) {
      const g = network(batch);
      const seen: [string, number, number][] = [];
      const found = await collectHistograms(g, observedValues(g), data, (...p) => seen.push(p));
      expect([...found.keys()]).toEqual([...reference.keys()]);
      for (const [id, h] of found) {
        expect([h.min, h.max].map((v) => v.toPrecision(5))).toEqual([reference.get(id)!.min, reference.get(id)!.max].map((v) => v.toPrecision(5)));
        expect(h.counts.length).toBe(BINS);
        expect(h.counts.reduce((a, c) => a + c), id).toBe(5 * elementCount(valueOf(g, id).type.shape) / batch);
      }
      expect(seen.at(-1)).toEqual(['histograms', 5, 5]);
      expect(seen.filter((p) => p[0] === 'ranges').length).toBe(Math.ceil(5 / batch));
    }
  });

  it('finds the same whether results are kept between the passes or computed again', async () => {
    const g = network(2);
    const found = await Promise.all([Infinity, 1000, 0].map((room) => collectHistograms(g, observedValues(g), source(9), () => {}, room)));
    expect(found[1]).toEqual(found[0]);
    expect(found[2]).toEqual(found[0]);
  });

  it('refuses values that are never finite (E208), by name', async () => {
    const b = createBuilder('nan');
    const x = b.input('x', { dtype: 'f32', shape: [1, ...SHAPE] });
    const bad = b.add('log', [compose.shift(b, b.add('neg', [b.add('abs', [x])]), -1)], {}, { names: ['bad'] });
    await expect(collectHistograms(b.build([bad]), [bad],
      source(2))).rejects.toThrowError(expect.objectContaining({ diagnostic: expect.objectContaining({ code: 'E208', node: 'bad' }) }));
  });
});

describe('chooseParams', () => {
  it('every chosen value gets numbers; a group shares them; what the model says itself is kept', async () => {
    const g = network(2);
    const histograms = await collectHistograms(g, observedValues(g), source(4));
    const c = chosen(g, 4);
    const [x] = g.inputs;
    const fixed = (bits: Bits): QuantParams => ({ scheme: activationScheme(bits), scale: Float32Array.of(0.125), zeroPoint: Int32Array.of(7) });
    const params = chooseParams(c, histograms, DEFAULT_CALIBRATION, new Map([[x, fixed(8)]]));
    verifyGraph(applyCalibration(c, params), opTable);
    expect(params.get(x)).toEqual(fixed(8));
    for (const a of quantizable(g).groups) expect(new Set(a.values.map((v) => params.get(v))).size).toBe(1);
    const [l] = layersOf(g);
    expect(params.get(l.weight)).toEqual(weightParams(random([4, 3, 3, 3], 11), weightScheme(4), 'mse'));
    // Numbers for other bits than those chosen are of no use.
    expect(chooseParams(c, histograms, DEFAULT_CALIBRATION, new Map([[x, fixed(4)]])).get(x)!.scheme.bits).toBe(8);
  });
});

describe('bias correction', () => {
  const BITS = 2;

  /** Mean over samples and positions of each layer's output before its clamp, with the given weights, on the float inputs of the layer. */
  async function means(
    g: Graph, params: ReadonlyMap<ValueId, QuantParams> | null, biases: ReadonlyMap<string, Float32Array> | null, data: DataSource,
  ): Promise<Map<string, number[]>> {
    const b = createBuilder('means');
    const producer = producers(g);
    const layers = layersOf(g);
    const x = await all(data);
    const inputs = evaluateGraph(g, new Map([[g.inputs[0], x]]), layers.map((l) => l.input));
    const found = new Map<string, number[]>();
    for (const l of layers) {
      const node = l.node;
      const w = constantData(producer, l.weight)!;
      const own = node.inputs[2] === undefined ? null : constantData(producer, node.inputs[2]);
      const outs = w.shape[0];
      const t = params ? tensor('f32', w.shape, fakeQuantize(w.data as Float32Array, w.shape, params.get(l.weight)!)) : w;
      const bias = biases ? tensor('f32', [outs], biases.get(l.name)!) : (own ?? tensor('f32', [outs], new Float32Array(outs)));
      const v = inputs.get(l.input)!;
      const y = b.add(node.op, [b.const(v), b.const(t), b.const(bias)], { ...(node.attrs as object), activation: null });
      const values = toNumbers(evaluateGraph(b.build([y]), new Map()).get(y)!);
      const per = new Array<number>(outs).fill(0);
      const inner = node.op === 'conv' ? elementCount(b.shapeOf(y).slice(2)) : 1;
      values.forEach((u, i) => (per[Math.floor(i / inner) % outs] += (u * outs) / values.length));
      found.set(l.name, per);
    }
    return found;
  }

  it.each([[1, 5], [2, 5], [3, 5], [8, 5]])('afterwards the mean error per channel is zero on the data (batch %i of %i samples)',
    async (batch, size) => {
    const g = network(batch);
    const data = source(size);
    const params = chooseParams(chosen(g, BITS), await collectHistograms(g, observedValues(g), data), DEFAULT_CALIBRATION);
    const biases = await correctedBiases(g, params, data);
    expect([...biases.keys()]).toEqual(['first', 'second', 'third', 'fourth', 'fifth']);
    const whole = network(size);
    const [float, before, after] = [await means(whole, null, null, data), await means(whole, params, null, data),
      await means(whole, params, biases, data)];
    for (const [name, wanted] of float) {
      const size = Math.max(...wanted.map(Math.abs));
      const error = (of: Map<string, number[]>): number => Math.max(...of.get(name)!.map((v, i) => Math.abs(v - wanted[i])));
      expect(error(after) / size, name).toBeLessThan(1e-5);
      expect(error(before) / size, name).toBeGreaterThan(1e-3);
    }
  });

  it('leaves layers alone that keep their weights, or whose bias is no constant', async () => {
    const b = createBuilder('none');
    const x = b.input('x', { dtype: 'f32', shape: [2, ...SHAPE] });
    const flat = compose.reshapeTo(b, x, [2, 90]);
    const bias = compose.reshapeTo(b, compose.sliceAxis(b, compose.reduceSum(b, flat, [1], false), 0, 0, 1), [1]);
    b.origin = 'dynamic';
    const y = b.add('linear', [flat, b.const(random([1, 90], 3)), bias]);
    b.origin = 'float';
    const z = b.add('linear', [flat, b.const(random([1, 90], 4))]);
    const g = b.build([y, z]);
    const [dynamic] = layersOf(g);
    expect(await correctedBiases(g, new Map([[dynamic.weight, weightParams(random([1, 90], 3), weightScheme(2), 'mse')]]),
      source(2))).toEqual(new Map());
  });
});
