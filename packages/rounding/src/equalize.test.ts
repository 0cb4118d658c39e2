import { compileGraph } from '@bitloom/engine';
import { type Graph, type GraphBuilder, type ValueId, constantData, producers, verifyGraph } from '@bitloom/ir';
import { createBuilder, opTable } from '@bitloom/ops';
import { type Tensor, elementCount, toNumbers } from '@bitloom/tensor';
import { layersOf } from '@bitloom/transforms';
import { describe, expect, it } from 'vitest';
import { equalize } from './index.js';
import { addConv, random } from './networks.test.util.js';

/** Weights with channels of very different sizes. */
const uneven = (shape: readonly number[], seed: number): Tensor => {
  const t = random(shape, seed);
  const inner = elementCount(shape) / shape[0];
  return { ...t, data: (t.data as Float32Array).map((v, i) => v * 10 ** ((Math.floor(i / inner) % 5) - 2)) };
};
const relu = { activation: { min: 0, max: Infinity } };
const SHAPE = [2, 3, 8, 8];

function build(body: (b: GraphBuilder, x: ValueId) => ValueId): Graph {
  const b = createBuilder('net');
  return b.build([body(b, b.input('x', { dtype: 'f32', shape: SHAPE }))]);
}

const weightsOf = (g: Graph): Map<string, Float32Array> =>
  new Map(layersOf(g).map((l) => [l.name, constantData(producers(g), l.weight)!.data as Float32Array]));
const changed = (g: Graph, frozen?: ReadonlySet<ValueId>): string[] => {
  const [before, after] = [weightsOf(g), weightsOf(equalize(g, frozen))];
  return [...before].filter(([name, w]) => w.some((v, i) => v !== after.get(name)![i])).map(([name]) => name);
};

async function expectSame(g: Graph): Promise<Graph> {
  const h = equalize(g);
  verifyGraph(h, opTable);
  const run = async (k: Graph): Promise<number[]> => {
    const s = await compileGraph(k);
    const found = await s.run(new Map([[k.inputs[0], random(SHAPE, 9)]]));
    await s.close();
    return toNumbers(found.get(k.outputs[0])!);
  };
  const [a, b] = [await run(g), await run(h)];
  const size = Math.max(...a.map(Math.abs));
  b.forEach((v, i) => expect(Math.abs(v - a[i]) / size).toBeLessThan(1e-5));
  return h;
}

describe('equalize', () => {
  it('keeps the function of chains, grouped and depthwise layers and pools, and gives pairs the same ranges', async () => {
    const g = build((b, x) => {
      const a = addConv(b, x, 'a', uneven([8, 3, 3, 3], 1), relu, random([8], 2));
      const c = b.add('relu', [addConv(b, a, 'b', uneven([8, 1, 3, 3], 3), { group: 8 }, random([8], 4))]);
      const pool = { kernel: [2, 2], strides: [2, 2], pads: [0, 0, 0, 0], dilations: [1, 1], ceilExtra: [0, 0] };
      const d = addConv(b, b.add('max_pool', [c], pool), 'c', uneven([6, 4, 1, 1], 5), { group: 2, pads: [0, 0, 0, 0] });
      const e = b.add('reduce_sum', [addConv(b, b.add('avg_pool', [d], { ...pool, countIncludePad: false }), 'd', uneven([5, 6, 3, 3], 6), relu)], { axes: [2, 3], keepdims: false });
      b.origin = 'e';
      const f = b.add('relu', [b.add('linear', [e, b.const(uneven([7, 5], 7)), b.const(random([7], 8))])]);
      b.origin = 'f';
      return b.add('linear', [f, b.const(uneven([3, 7], 10))]);
    });
    expect(changed(g)).toEqual(['a', 'b', 'c', 'd', 'e', 'f']);
    const h = weightsOf(await expectSame(g));
    const largest = (w: Float32Array, at: (i: number) => boolean): number => w.reduce((m, v, i) => (at(i) ? Math.max(m, Math.abs(v)) : m), 0);
    for (let c = 0; c < 7; c++) {
      const [r1, r2] = [largest(h.get('e')!, (i) => Math.floor(i / 5) === c), largest(h.get('f')!, (i) => i % 7 === c)];
      expect(r1 / r2).toBeCloseTo(1, 2);
    }
    // Groups of three input channels each: channel 4 is the second of the second group, which rows 3 to 5 read.
    const [r1, r2] = [largest(h.get('b')!, (i) => Math.floor(i / 9) === 5), largest(h.get('c')!, (i) => Math.floor(i / 4) >= 3 && i % 4 === 1)];
    expect(r1 / r2).toBeCloseTo(1, 1);
  });

  it('leaves alone what others read, what clips, what shares weights, and what is frozen', () => {
    const two = (b: GraphBuilder, x: ValueId, over: object): [ValueId, ValueId] => {
      const a = addConv(b, x, 'a', uneven([4, 3, 3, 3], 1), over);
      return [a, addConv(b, a, 'b', uneven([4, 4, 3, 3], 2))];
    };
    const first = (over: object) => build((b, x) => two(b, x, over)[1]);
    expect(changed(first(relu))).toEqual(['a', 'b']);
    expect(changed(first({}))).toEqual(['a', 'b']);
    expect(changed(first({ activation: { min: 0, max: 6 } }))).toEqual([]);
    expect(changed(build((b, x) => b.add('add', two(b, x, relu))))).toEqual([]);
    expect(changed(build((b, x) => b.add('sigmoid', [two(b, x, {})[1]])))).toEqual(['a', 'b']);
    expect(changed(build((b, x) => addConv(b, b.add('sigmoid', [addConv(b, x, 'a', uneven([4, 3, 3, 3], 1))]), 'b', uneven([4, 4, 3, 3], 2))))).toEqual([]);
    const shared = build((b, x) => {
      const w = uneven([3, 3, 3, 3], 1);
      const id = b.const(w);
      const attrs = { strides: [1, 1], dilations: [1, 1], pads: [1, 1, 1, 1], group: 1 };
      return b.add('conv', [b.add('conv', [x, id], attrs), id], attrs);
    });
    expect(changed(shared)).toEqual([]);
    const g = first(relu);
    for (const l of layersOf(g)) expect(changed(g, new Set([l.weight]))).toEqual([]);
    expect(equalize(shared)).toBe(shared);
  });
});
