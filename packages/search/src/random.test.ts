import { DEFAULT_CALIBRATION } from '@bitloom/calibrate';
import { type Graph, type ValueId } from '@bitloom/ir';
import type { Bits } from '@bitloom/numerics';
import { createBuilder } from '@bitloom/ops';
import { allocate } from '@bitloom/tensor';
import { markCandidates, quantizable } from '@bitloom/transforms';
import { describe, expect, it } from 'vitest';
import { type BitChoice, type Budget, type LatencyModel, type Pin, type SearchProblem, activationChoices, choiceCost, random, weightChoices } from './index.js';

/** Three convolutions and a linear layer, of different sizes. */
function network(): Graph {
  const b = createBuilder('net');
  let x = b.input('x', { dtype: 'f32', shape: [1, 3, 6, 6] });
  for (const [i, outs] of [4, 6, 5].entries()) {
    b.origin = `conv${i}`;
    x = b.add('conv', [x, b.const(allocate('f32', [outs, b.shapeOf(x)[1], 3, 3]))], { strides: [1, 1], dilations: [1, 1], pads: [1, 1, 1, 1], group: 1, activation: { min: 0, max: Infinity } });
  }
  b.origin = 'head';
  const sum = b.add('reduce_sum', [x], { axes: [2, 3], keepdims: false });
  return b.build([b.add('linear', [sum, b.const(allocate('f32', [3, 5]))], { activation: null })]);
}

const G = network();
const SITES = quantizable(G);
function problem(budget: Partial<Budget>, seed: number, pins: Record<string, Pin> = {}): SearchProblem {
  return {
    graph: markCandidates(G, [2, 3, 8], [2, 8]), ...SITES, weightBits: [2, 3, 8], activationBits: [2, 8], pins: new Map(Object.entries(pins)),
    budget: { kind: 'bops', limit: 0, text: 'bops=…', latency: null, ...budget }, data: null as never, histograms: new Map(), training: null, calibration: DEFAULT_CALIBRATION, seed, progress: () => {},
  };
}

/** Costs of all assignments. */
function costs(p: SearchProblem): number[] {
  const activations = activationChoices(p);
  let all: { weights: Map<string, Bits>; activations: Map<ValueId, Bits> }[] = [{ weights: new Map(), activations: new Map() }];
  for (const l of p.layers) all = all.flatMap((c) => weightChoices(p, l).map((b) => ({ ...c, weights: new Map(c.weights).set(l.name, b) })));
  for (const g of p.groups) all = all.flatMap((c) => activations.get(g.id)!.map((b) => ({ ...c, activations: new Map(c.activations).set(g.id, b) })));
  return all.map((c) => choiceCost(p, c)).sort((a, b) => a - b);
}

/** More bits are not always slower. */
const latency: LatencyModel = { fixed: 50, float: 1000, layer: (name, w, a) => name.length * (w === 3 ? 9 : w) + (a === 2 ? 12 : a) };
const PINS = { conv0: { weights: 8, activations: 8 }, head: { weights: 8, activations: null } } as const;
/** Share of all assignments, too small to be found by chance. */
const RARE = 0.01;
const plain = (c: BitChoice): unknown => [[...c.weights], [...c.activations]];

describe('random', () => {
  it.each([
    ['bops', {}, {}], ['bops', {}, PINS], ['size', {}, {}], ['bits', {}, PINS], ['latency', { latency }, {}], ['latency', { latency }, PINS],
  ] as const)('%s %j: within the limit and 95 % of it wherever assignments are, refused where none is (brute force)', async (kind, more, pins) => {
    const all = costs(problem({ kind, ...more }, 0, pins));
    const [least, most] = [all[0], all[all.length - 1]];
    for (let i = 0; i <= 12; i++) {
      const limit = least * 0.98 + (i / 12) * (most * 1.1 - least * 0.98);
      const inside = all.filter((c) => c <= limit && c >= 0.95 * limit).length >= RARE * all.length;
      for (const seed of [0, 1, 2]) {
        const p = problem({ kind, limit, ...more }, seed, pins);
        if (least > limit) {
          await expect(random.search(p, {})).rejects.toMatchObject({ code: 'E501' });
          continue;
        }
        const { choice } = await random.search(p, {});
        const cost = choiceCost(p, choice);
        expect(cost).toBeLessThanOrEqual(limit);
        if (inside) expect(cost, `limit ${limit}`).toBeGreaterThanOrEqual(0.95 * limit);
        for (const l of p.layers) expect(weightChoices(p, l)).toContain(choice.weights.get(l.name));
        for (const [id, bits] of activationChoices(p)) expect(bits).toContain(choice.activations.get(id));
        expect([choice.weights.size, choice.activations.size]).toEqual([p.layers.length, p.groups.length]);
      }
    }
  });

  it('is the same for a seed, another for others', async () => {
    const all = costs(problem({}, 0));
    const limit = all[all.length >> 1];
    const found = await Promise.all([0, 0, 1, 2, 3, 4].map(async (seed) => JSON.stringify(plain((await random.search(problem({ limit }, seed), {})).choice))));
    expect(found[0]).toBe(found[1]);
    expect(new Set(found).size).toBeGreaterThan(2);
  });

  it('says what the least is, and that it needs a budget', async () => {
    await expect(random.search(problem({ limit: 1, kind: 'size' }, 0), {})).rejects.toMatchObject({ diagnostic: { expected: `at least size=${costs(problem({ kind: 'size' }, 0))[0]}B` } });
    await expect(random.search({ ...problem({}, 0), budget: null }, {})).rejects.toMatchObject({ code: 'E103' });
    expect(random.options.safeParse({ x: 1 }).success).toBe(false);
  });
});
