/** Bits chosen on small problems, against every assignment there is. */
import { DEFAULT_CALIBRATION, collectHistograms, observedValues } from '@bitloom/calibrate';
import type { DataSource } from '@bitloom/data';
import type { Graph, GraphBuilder, ValueId } from '@bitloom/ir';
import type { Bits } from '@bitloom/numerics';
import { compose, createBuilder } from '@bitloom/ops';
import { type BitChoice, type LatencyModel, type SearchProblem, activationChoices, choiceCost, measureSensitivities, parseBudget, weightChoices } from '@bitloom/search';
import { Rng, type Tensor, elementCount, tensor } from '@bitloom/tensor';
import { markCandidates, quantizable, splitStreams } from '@bitloom/transforms';
import { describe, expect, it } from 'vitest';
import { paretoFront, solveExact, solveGreedy } from './solver.js';
import { knapsack, mckp, mckpOptions } from './strategy.js';

const normal = (shape: readonly number[], seed: number): Tensor => {
  const rng = new Rng(seed);
  return tensor('f32', shape, Float32Array.from({ length: elementCount(shape) }, () => Math.fround(rng.normal())));
};

/** stem ∥ (a → b) → add → head, logits; what the stem and b make are streams, and `a` reads one of them. */
function network(): Graph {
  const b: GraphBuilder = createBuilder('net');
  let seed = 1;
  const conv = (x: ValueId, name: string, outs: number, kernel: number): ValueId => {
    const w = b.const(normal([outs, b.shapeOf(x)[1], kernel, kernel], seed++));
    b.origin = name;
    const pads = new Array<number>(4).fill((kernel - 1) / 2);
    return b.add('conv', [x, w], { strides: [1, 1], dilations: [1, 1], pads, group: 1, activation: { min: 0, max: Infinity } });
  };
  const stem = conv(b.input('x', { dtype: 'f32', shape: [2, 2, 4, 4] }), 'stem', 3, 3);
  const sum = compose.add(b, stem, conv(conv(stem, 'a', 5, 3), 'b', 3, 1));
  const w = b.const(normal([3, 48], seed++));
  b.origin = 'head';
  return splitStreams(b.build([b.add('linear', [compose.reshapeTo(b, sum, [2, 48]), w])]));
}

const data: DataSource = {
  kind: 'test', size: 6, labelled: true, fingerprint: '',
  async *samples(range = {}) {
    const indices = 'length' in range ? range : [0, 1, 2, 3, 4, 5];
    for (const i of indices) yield { inputs: new Map([['x', normal([2, 4, 4], 100 + i)]]), label: i % 3 };
  },
};

function synthetic(over: Partial<SearchProblem> = {}): SearchProblem {
  const g = network();
  const { layers, groups } = quantizable(g);
  return {
    graph: markCandidates(g, [2, 3, 8], [4, 8]), layers, groups, weightBits: [2, 3, 8], activationBits: [4, 8], pins: new Map(), budget: null, data,
    histograms: new Map(), training: null, calibration: { ...DEFAULT_CALIBRATION, biasCorrection: false }, seed: 1, progress: () => {}, ...over,
  };
}
/** A machine on which time grows with the bits, but not everywhere. */
const times: LatencyModel = {
  fixed: 500, float: 9000,
  layer: (name, w, a) => ({ stem: 300, a: 700, b: 100, head: 400 })[name]! * (w === 3 ? 9 : w) / 8 + (a === 4 ? 30 : 200) + (w === 2 && a === 4 ? 150 : 0),
};
const withBudget = (text: string, over: Partial<SearchProblem> = {}): SearchProblem => {
  const p = synthetic(over);
  return { ...p, budget: parseBudget(text, p.graph, p, text.startsWith('latency') ? wholeTimes : null) };
};
const wholeTimes: LatencyModel = { ...times, layer: (...of) => Math.round(times.layer(...of)) };

/** Random losses, decreasing in the bits on the whole. */
function losses(p: SearchProblem, seed: number): { weights: (l: string, b: Bits) => number; activations: (a: ValueId, b: Bits) => number } {
  const rng = new Rng(seed);
  const table = new Map<string, number>();
  for (const l of p.layers) for (const b of [2, 3, 4, 5, 6, 8]) table.set(`${l.name} ${b}`, rng.uniform() * 4 ** (4 - b));
  for (const a of p.groups) for (const b of [4, 5, 6, 8]) table.set(`${a.id} ${b}`, rng.uniform() * 4 ** (3 - b));
  return { weights: (l, b) => table.get(`${l} ${b}`)!, activations: (a, b) => table.get(`${a} ${b}`)! };
}

/** Every assignment that pins and streams allow. */
function everything(p: SearchProblem): BitChoice[] {
  let all: BitChoice[] = [{ weights: new Map(), activations: new Map() }];
  for (const l of p.layers) all = all.flatMap((c) => weightChoices(p, l).map((b) => ({ ...c, weights: new Map([...c.weights, [l.name, b]]) })));
  for (const [id, bits] of activationChoices(p)) all = all.flatMap((c) => bits.map((b) => ({ ...c, activations: new Map([...c.activations, [id, b]]) })));
  return all;
}

const lossOf = (p: SearchProblem, c: BitChoice, of: ReturnType<typeof losses>): number =>
  p.layers.reduce((s, l) => s + of.weights(l.name, c.weights.get(l.name)!), 0) + p.groups.reduce((s, a) =>
    s + of.activations(a.id, c.activations.get(a.id)!), 0);

function best(p: SearchProblem, of: ReturnType<typeof losses>): number {
  return Math.min(...everything(p).filter((c) => choiceCost(p, c) <= p.budget!.limit).map((c) => lossOf(p, c, of)));
}

function solve(p: SearchProblem, of: ReturnType<typeof losses>, solver: typeof solveExact): { choice: BitChoice; loss: number; lowerBound: number } {
  const classes = knapsack(p, of.weights, of.activations);
  const s = solver({ classes, capacity: p.budget!.limit });
  const options = classes.map((c, i) => c[s.choice[i]]);
  return { choice: { weights: new Map(options.flatMap((o) => o.weights)), activations: new Map(options.flatMap((o) => o.activations)) },
    loss: s.loss, lowerBound: s.lowerBound };
}

const BUDGETS = ['size=80B', 'size=100B', 'size=150B', 'bits=2.3', 'bits=3.7', 'bits=6', 'bits=8', 'bops=15%', 'bops=22%', 'bops=30%',
  'bops=45%', 'bops=70%', 'bops=100%', 'latency=1us', 'latency=50%', 'latency=60%w8a8', 'latency=1.5us', 'latency=20%float', 'latency=100%'];
const VARIANTS: readonly [string, Partial<SearchProblem>][] = [
  ['free', {}],
  ['pinned', { pins: new Map([['stem', { weights: 8, activations: 8 }], ['a', { weights: null, activations: 6 }],
    ['head', { weights: 5, activations: null }]]) }],
  ['one activation width', { activationBits: [8] }],
  ['everything pinned', { pins: new Map(['stem', 'a', 'b', 'head'].map((l) => [l, { weights: 2, activations: 4 }])) }],
];

describe('knapsack', () => {
  it('the network has two streams, one of which a layer reads at bits of its own', () => {
    const { groups, layers } = synthetic();
    expect(layers.map((l) => [l.name, l.params])).toEqual([['stem', 54], ['a', 135], ['b', 15], ['head', 144]]);
    expect(groups.map((a) => a.layers.map((l) => l.name).join())).toEqual(['stem', '', 'a', 'b', '', 'head']);
    expect(everything(synthetic()).length).toBe(3 ** 4 * 2 ** 4);
  });

  it.each(VARIANTS.flatMap(([name, over]) => BUDGETS.map((text) =>
    [name, text, over] as const)))('%s, %s: exact equals brute force, greedy is never below', (_, text, over) => {
    const p = withBudget(text, over);
    for (let seed = 1; seed <= 4; seed++) {
      const of = losses(p, seed);
      const wanted = best(p, of);
      if (wanted === Infinity) {
        expect(() => solve(p, of, solveExact)).toThrowError(expect.objectContaining({ code: 'E501' }));
        continue;
      }
      const exact = solve(p, of, solveExact);
      expect(exact.loss).toBeCloseTo(wanted, 10);
      // The choice itself: complete, within budget, streams at 8 bits, and as good as it says.
      expect(exact.choice.weights.size).toBe(4);
      expect(exact.choice.activations.size).toBe(6);
      expect(choiceCost(p, exact.choice)).toBeLessThanOrEqual(p.budget!.limit);
      expect(lossOf(p, exact.choice, of)).toBeCloseTo(exact.loss, 10);
      expect([1, 4].map((i) => exact.choice.activations.get(p.groups[i].id))).toEqual([8, 8]);
      const greedy = solve(p, of, solveGreedy);
      expect(choiceCost(p, greedy.choice)).toBeLessThanOrEqual(p.budget!.limit);
      expect(greedy.loss).toBeGreaterThanOrEqual(exact.loss - 1e-12);
      expect(exact.lowerBound).toBeLessThanOrEqual(exact.loss + 1e-12);
    }
  });

  it('finer times than the steps of the budget still keep it', () => {
    for (const text of ['latency=60%', 'latency=70%', 'latency=85%']) {
      const p = synthetic();
      const fine: LatencyModel = { fixed: 123456.7, float: 1e9, layer: (...of) => 1234.56 * times.layer(...of) };
      const q = { ...p, budget: parseBudget(text, p.graph, p, fine) };
      const of = losses(q, 3);
      const s = solve(q, of, solveExact);
      expect(choiceCost(q, s.choice)).toBeLessThanOrEqual(q.budget.limit);
      // Rounding up costs at most a step a layer.
      const tight = { ...q, budget: { ...q.budget, limit: q.budget.limit * (1 - 6 / 2 ** 14) } };
      expect(s.loss).toBeLessThanOrEqual(best(tight, of) + 1e-12);
    }
  });

  it('one input of several layers is one choice', () => {
    const b = createBuilder('fan');
    const x = b.input('x', { dtype: 'f32', shape: [1, 4] });
    const outs = [3, 5, 7].map((n, i) => {
      b.origin = `l${i}`;
      return b.add('linear', [x, b.const(normal([n, 4], n))]);
    });
    const g = b.build(outs);
    const { layers, groups } = quantizable(g);
    for (const text of ['bops=20%', 'bops=40%', 'bops=60%', 'bops=80%']) {
      const p: SearchProblem = { ...synthetic(), graph: g, layers, groups, budget: parseBudget(text, g, { layers, groups }) };
      for (let seed = 1; seed <= 5; seed++) expect(solve(p, losses(p, seed), solveExact).loss).toBeCloseTo(best(p, losses(p, seed)), 10);
    }
  });

  it('layers without a quantised input count as 32 activation bits', () => {
    const b = createBuilder('float input');
    const h = b.add('linear', [b.input('x', { dtype: 'f32', shape: [1, 4] }), b.const(normal([4, 4], 1))], {}, { origin: 'l0' });
    const g = b.build([h, b.add('linear', [h, b.const(normal([2, 4], 2))], {}, { origin: 'l1' })]);
    const { layers, groups } = quantizable(g);
    expect(groups.length).toBe(1);
    const p: SearchProblem = { ...synthetic(), graph: g, layers, groups, budget: parseBudget('bops=300', g, { layers, groups }) };
    const classes = knapsack(p, () => 1, () => 1);
    // One input of 16 MACs at 2 × 4 bits, eight MACs at 2 × 32.
    expect(classes.reduce((s, c) => s + c[0].cost, 0)).toBe(16 * 8 + 8 * 64);
  });
});

describe('mckp', () => {
  const real = async (text: string | null, over: Partial<SearchProblem> = {}): Promise<SearchProblem> => {
    const p = text === null ? synthetic(over) : withBudget(text, over);
    return { ...p, histograms: await collectHistograms(p.graph, observedValues(p.graph), data) };
  };
  const options = mckpOptions.parse({});

  it('finds the assignment of least measured loss within the budget', async () => {
    for (const text of ['size=100B', 'bits=3.5', 'bops=30%']) {
      const p = await real(text);
      const omega = await measureSensitivities({ ...p, labels: 'model' });
      const of = {
        weights: (l: string, b: Bits) => omega.weights.get(l)!.get(b)!,
        activations: (a: ValueId, b: Bits) => omega.activations.get(a)!.get(b)!,
      };
      const r = await mckp.search(p, options);
      expect(r.objective! / best(p, of)).toBeCloseTo(1, 10);
      expect(lossOf(p, r.choice, of) / r.objective!).toBeCloseTo(1, 10);
      expect(choiceCost(p, r.choice)).toBeLessThanOrEqual(p.budget!.limit);
      expect(r.lowerBound!).toBeLessThanOrEqual(r.objective!);
      expect(r.gap).toBeGreaterThanOrEqual(0);

      const greedy = await mckp.search(p, { ...options, solver: 'greedy' });
      expect(greedy.objective!).toBeGreaterThanOrEqual(r.objective! * (1 - 1e-12));
      expect(await mckp.search(p, options)).toEqual(r);
    }
  });

  it('the Pareto front: more cost, less loss, averages that agree with the cost', async () => {
    for (const text of ['bits=8', 'bops=100%']) {
      const p = await real(text);
      const { pareto } = await mckp.search(p, options);
      expect(pareto.length).toBeGreaterThan(4);
      pareto.slice(1).forEach((q, i) => {
        expect(q.cost).toBeGreaterThan(pareto[i].cost);
        expect(q.loss).toBeLessThan(pareto[i].loss);
      });
      const params = p.layers.reduce((s, l) => s + l.params, 0);
      if (text === 'bits=8') for (const q of pareto) expect(q.weightBits * params).toBeCloseTo(q.cost, 6);
      expect(paretoFront({ classes: knapsack(p, () => 1, () => 1), capacity: 1e9 }).length).toBe(1);
    }
  });

  it('without a budget takes the least loss there is', async () => {
    const r = await mckp.search(await real(null), options);
    expect([...r.choice.weights.values()]).toEqual([8, 8, 8, 8]);
    expect(new Set(r.choice.activations.values())).toEqual(new Set([8]));
  });

  it('an infeasible budget names the smallest that is not (E501), in its own words', async () => {
    for (const text of ['size=10B', 'bits=1', 'bops=1%', 'latency=10%', 'latency=1ns']) {
      const p = await real(text);
      const d = await mckp.search(p, options).then(() => null, (e: { diagnostic: { code: string; found: string; expected: string } }) => e.diagnostic);
      expect([d?.code, d?.found]).toEqual(['E501', text]);
      const least = d!.expected.replace('at least ', '');
      expect(least.split('=')[0]).toBe(text.split('=')[0]);
      const budget = parseBudget(least, p.graph, p, p.budget!.latency);
      const again = await mckp.search({ ...p, budget }, options);
      if (!text.startsWith('latency')) expect([...again.choice.weights.values()]).toEqual([2, 2, 2, 2]);
      // No more than the rounding of the words above the true minimum.
      expect(choiceCost(p, again.choice)).toBe(Math.min(...everything(p).map((c) => choiceCost(p, c))));
      expect(budget.limit / choiceCost(p, again.choice)).toBeLessThan(1.01);
    }
  });
});
