import { DEFAULT_CALIBRATION } from '@bitloom/calibrate';
import { type Graph, type GraphBuilder, type ValueId, valueOf, verifyGraph } from '@bitloom/ir';
import { type Bits, packPlanes } from '@bitloom/numerics';
import { compose, createBuilder, opTable } from '@bitloom/ops';
import { allocate } from '@bitloom/tensor';
import { applyAssignment, layerBits, markCandidates, quantizable, splitStreams } from '@bitloom/transforms';
import { describe, expect, it } from 'vitest';
import {
  type BitChoice, type BudgetKind, type LatencyModel, type SearchProblem, activationChoices, averageBits, choiceCost, defaultPins, layerCost, mergePins, packedBytes,
  parseBudget, parsePin, readAssignment, showCost,
  toAssignment, uniform, weightChoices, writeAssignment,
} from './index.js';

const conv = (b: GraphBuilder, x: ValueId, name: string, outs: number, kernel: number, group = 1, activation: object | null = null): ValueId => {
  b.origin = name;
  const pads = new Array<number>(4).fill((kernel - 1) / 2);
  return b.add('conv', [x, b.const(allocate('f32', [outs, b.shapeOf(x)[1] / group, kernel, kernel]))],
    { strides: [1, 1], dilations: [1, 1], pads, group, activation });
};

/** stem → (a ∥ shortcut) → add → depthwise → head; no layer reads what a makes. */
function network(): Graph {
  const b = createBuilder('net');
  const x = b.input('image', { dtype: 'f32', shape: [1, 3, 5, 5] });
  const stem = conv(b, x, 'stem', 4, 3, 1, { min: 0, max: Infinity });
  const sum = compose.add(b, stem, conv(b, stem, 'a', 4, 3));
  const d = conv(b, sum, 'depthwise', 4, 3, 4);
  b.origin = 'head';
  return b.build([b.add('linear', [compose.reshapeTo(b, d, [1, 100]), b.const(allocate('f32', [3, 100]))])]);
}

function problem(over: Partial<SearchProblem> = {}, g = network()): SearchProblem {
  const { layers, groups } = quantizable(g);
  return {
    graph: markCandidates(g, [2, 4, 8], [4, 8]), layers, groups, weightBits: [2, 4, 8], activationBits: [4, 8], pins: new Map(),
    budget: null, data: null as never,
    histograms: new Map(), training: null, calibration: DEFAULT_CALIBRATION, seed: 1, progress: () => {}, ...over,
  };
}
const code = (c: string): unknown => expect.objectContaining({ code: c });
const choice = (p: SearchProblem, w: Bits, a: Bits): BitChoice =>
  ({ weights: new Map(p.layers.map((l) => [l.name, w])), activations: new Map(p.groups.map((x) => [x.id, x.layers.length > 0 ? a : 8])) });

describe('budgets', () => {
  const sites = problem();
  const { graph, layers } = sites;
  const total = (f: (l: (typeof layers)[number]) => number): number => layers.reduce((s, l) => s + f(l), 0);
  const params = total((l) => l.params);
  const macs = total((l) => l.macs);

  it('the network: parameters and multiply–accumulates', () => {
    expect(layers.map((l) => [l.name, l.params, l.macs])).toEqual([['stem', 108, 2700], ['a', 144, 3600], ['depthwise', 36, 900], ['head', 300, 300]]);
  });

  it.each<[string, string, number]>([
    ['size=300', 'size', 300], ['size=300B', 'size', 300], ['SIZE=2kB', 'size', 2000], ['size=2KiB', 'size', 2048],
    ['size=.5MB', 'size', 5e5], ['size=1.5MiB', 'size', 1.5 * 2 ** 20], [' size=1e3 ', 'size', 1000],
    ['size=12.5%', 'size', params * 4 * 0.125], ['size=12.5%float', 'size', params * 4 * 0.125], ['size=50%w8a8', 'size', NaN],
    ['bops=2.5k', 'bops', 2500], ['bops=2G', 'bops', 2e9], ['bops=1.5T', 'bops', 1.5e12], ['bops=3M', 'bops', 3e6],
    ['bops=25%', 'bops', macs * 16], ['bops=25%W8A8', 'bops', macs * 16], ['bops=1%float', 'bops', macs * 10.24],
    ['bits=4', 'bits', 4 * params], ['bits=3.5', 'bits', 3.5 * params], ['bits=12.5%', 'bits', 4 * params], ['bits=50%w8a8', 'bits', 4 * params],
  ])('%s', (text, kind, limit) => {
    const found = parseBudget(text, graph, sites);
    expect([found.kind, found.text]).toEqual([kind, text]);
    const bytes = total((l) => packedBytes(graph, l, 8));
    expect(found.limit).toBeCloseTo(Number.isNaN(limit) ? bytes / 2 : limit, 6);
  });

  const latency: LatencyModel = { fixed: 100, float: 4000, layer: (name, w, a) => (name === 'stem' ? 10 : 20) * w + a };
  it.each([
    ['latency=3ms', 3e6], ['latency=250us', 2.5e5], ['latency=900ns', 900], ['latency=.5s', 5e8], ['LATENCY=3MS', 3e6],
    ['latency=50%', (100 + 8 * 70 + 4 * 8) / 2], ['latency=50%w8a8', (100 + 8 * 70 + 4 * 8) / 2], ['latency=25%float', 1000],
  ])('%s', (text, limit) => {
    expect(parseBudget(text, graph, sites, latency)).toEqual({ kind: 'latency', limit, text, latency });
  });

  it('latency: fixed parts and layers with the bits that they read', () => {
    const p = { ...sites, budget: parseBudget('latency=1ms', graph, sites, latency) };
    expect(choiceCost(p, choice(sites, 2, 4))).toBe(100 + 2 * 70 + 4 * 4);
  });

  it.each(['', 'size', 'latency=3', 'latency=3k', 'latency=3kB', 'latency=3%ms', 'latency=0ms', 'latency=-1ms', 'latency=3min', 'latency=3ms5', 'bits=3ms', 'size=', 'size=-3', 'size=0', 'size=0%', 'size=5x', 'bits=4k', 'speed=3', 'size=3%w4a4', 'size=1.2.3',
    'size=4constructor', 'size=4__proto__', 'bits=NaN', 'bits=Infinity', 'bops=3Q', 'size=3 kB'])('refuses %s (E101)', (text) => {
    expect(() => parseBudget(text, graph, sites)).toThrowError(code('E101'));
  });

  it('packed sizes are those of the bit planes', () => {
    for (const l of layers) {
      const rows = l.node.op === 'conv' ? 4 : 3;
      for (const bits of [1, 2, 3, 4, 5, 6, 7, 8] as const) {
        expect(packedBytes(graph, l, bits)).toBe(packPlanes(new Uint8Array(l.params), rows, l.params / rows, bits).length);
        expect(packedBytes(graph, l, bits) * 8).toBeGreaterThanOrEqual(l.params * bits);
      }
      expect(packedBytes(graph, l, 32)).toBe(l.params * 4);
    }
  });

  it('costs: bytes, bits, and products of bits', () => {
    const [stem] = layers;
    const cost = (kind: BudgetKind, a: number): number => layerCost(graph, { kind, latency: null }, stem, 4, a);
    expect([cost('size', 8), cost('bits', 8), cost('bops', 8), cost('bops', 32)])
      .toEqual([4 * 4 * 4, 432, 2700 * 32, 2700 * 128]);
  });

  it('costs are shown so that they meet themselves when read again', () => {
    for (const kind of ['size', 'bops', 'bits', 'latency'] as const) {
      for (let i = 1; i < 400; i++) {
        const cost = kind === 'size' ? i : (i ** 3.7 * 13.37) / 7;
        const again = parseBudget(showCost(kind, cost, layers), graph, sites);
        expect(again.limit * (1 + 1e-12)).toBeGreaterThanOrEqual(cost);
        expect(again.limit).toBeLessThanOrEqual(cost * 1.02 + 2);
      }
    }
  });
});

describe('pins and choices', () => {
  const { layers } = problem();

  it.each([['a=w4a8', { weights: 4, activations: 8 }], ['a=w1', { weights: 1, activations: null }],
    ['a=A3', { weights: null, activations: 3 }], ['b=c=w2', { weights: 2, activations: null }]])('%s', (text, pin) => {
    expect(parsePin(text)).toEqual([text.slice(0, text.lastIndexOf('=')), pin]);
  });

  it.each(['a', 'a=', 'a=w9', 'a=w0a8', 'a=8', 'a=a8w4', '=w4'])('refuses %s (E502)', (text) => {
    expect(() => parsePin(text)).toThrowError(code('E502'));
  });

  it('the ends have 8 bits unless told otherwise', () => {
    expect([...defaultPins(layers).keys()]).toEqual(['stem', 'head']);
    expect([...defaultPins([])]).toEqual([]);
    const merged = mergePins(layers, [['stem', { weights: 4, activations: null }], ['a', { weights: null, activations: 4 }]]);
    expect(Object.fromEntries(merged)).toEqual({ stem: { weights: 4, activations: 8 }, head: { weights: 8, activations: 8 },
      a: { weights: null, activations: 4 } });
    expect([...mergePins(layers, [], new Map())]).toEqual([]);
    const diagnostic = expect.objectContaining({ code: 'E502', node: 'nowhere', expected: 'stem, a, depthwise, head' });
    expect(() => mergePins(layers, [['nowhere', { weights: 4, activations: 4 }]])).toThrowError(expect.objectContaining({ diagnostic }));
  });

  it('a pin binds what the layer reads, the widest where layers disagree; what no layer reads has 8 bits', () => {
    const free = problem();
    const names = ['image', 'stem', 'a', 'depthwise', 'head'];
    expect(free.groups.map((a) => a.layers.map((l) => l.name))).toEqual([['stem'], ['a'], [], ['depthwise'], ['head']]);
    const chosen = (p: SearchProblem): unknown => Object.fromEntries([...activationChoices(p).values()].map((bits, i) => [names[i], bits]));
    expect([...activationChoices(free).keys()]).toEqual(free.groups.map((a) => a.id));
    expect(chosen(free)).toEqual({ image: [4, 8], stem: [4, 8], a: [8], depthwise: [4, 8], head: [4, 8] });
    const pinned: SearchProblem = { ...free, pins: new Map([['a', { weights: 2, activations: 2 }]]) };
    expect(chosen(pinned)).toEqual({ image: [4, 8], stem: [2], a: [8], depthwise: [4, 8], head: [4, 8] });
    expect(weightChoices(pinned, layers[1])).toEqual([2]);
    expect(weightChoices(free, layers[1])).toEqual([2, 4, 8]);

    const b = createBuilder('two');
    const x = b.input('x', { dtype: 'f32', shape: [1, 4, 3, 3] });
    const both = problem({ pins: new Map([['p', { weights: null, activations: 4 }], ['q', { weights: null, activations: 6 }]]) },
      b.build([conv(b, x, 'p', 2, 1), conv(b, x, 'q', 2, 3)]));
    expect([...activationChoices(both).values()]).toEqual([[6]]);
  });

  it('pins and choices of a layer that reads a stream are of its own input', () => {
    const p = problem({ pins: new Map([['a', { weights: null, activations: 2 }]]) }, splitStreams(network()));
    expect(p.groups.map((g) => [g.layers.map((l) => l.name).join(), activationChoices(p).get(g.id)])).toEqual(
      [['stem', [4, 8]], ['', [8]], ['a', [2]], ['', [8]], ['depthwise', [4, 8]], ['head', [4, 8]]]);
  });

  it('layers that share their weights have no choice: the widest pin, or the widest bits', () => {
    const b = createBuilder('loop');
    const w = b.const(allocate('f32', [4, 4]));
    b.origin = 'rnn';
    const y = b.add('linear', [b.add('tanh', [b.add('linear', [b.input('x', { dtype: 'f32', shape: [1, 4] }), w])]), w]);
    const p = problem({}, b.build([y]));
    expect(p.layers.map((l) => weightChoices(p, l))).toEqual([[8], [8]]);
    const pinned = { ...p, pins: new Map([['rnn', { weights: 3, activations: null }], ['rnn#2', { weights: 5, activations: null }]] as const) };
    expect(p.layers.map((l) => weightChoices(pinned, l))).toEqual([[5], [5]]);
  });
});

describe('assignments', () => {
  const p = problem();
  const mixed: BitChoice = {
    weights: new Map(p.layers.map((l, i) => [l.name, ([8, 2, 4, 8] as const)[i]])),
    activations: new Map(p.groups.map((g, i) => [g.id, ([8, 4, 4, 8, 4] as const)[i]])),
  };

  it('reach every layer and every value of a group', () => {
    const g = applyAssignment(p.graph, toAssignment(p, mixed));
    verifyGraph(g, opTable);
    expect(p.layers.map((l) => layerBits(g, l))).toEqual([{ weights: 8, activations: 8 }, { weights: 2, activations: 4 },
      { weights: 4, activations: 8 }, { weights: 8, activations: 4 }]);
    for (const a of p.groups) for (const v of a.values) expect(valueOf(g, v).precision).toMatchObject({ state: 'chosen',
      scheme: { bits: mixed.activations.get(a.id) } });
  });

  it('average over parameters and multiply–accumulates', () => {
    const found = averageBits(p, mixed);
    expect(found.weightBits).toBeCloseTo((108 * 8 + 144 * 2 + 36 * 4 + 300 * 8) / 588, 10);
    expect(found.activationBits).toBeCloseTo((2700 * 8 + 3600 * 4 + 900 * 8 + 300 * 4) / 7500, 10);
  });

  it('survive a file, also where values have the same name', () => {
    const text = JSON.stringify(writeAssignment(p, mixed));
    expect(readAssignment(p, JSON.parse(text))).toEqual(mixed);
    const same = { ...p, graph: { ...p.graph, values: new Map([...p.graph.values].map(([id, v]) => [id, { ...v, name: 'same' }])) } };
    const file = writeAssignment(same, mixed);
    expect(Object.keys(file.activations)).toEqual(['same', 'same#2', 'same#3', 'same#4', 'same#5']);
    expect(readAssignment(same, JSON.parse(JSON.stringify(file)))).toEqual(mixed);
  });

  const file = writeAssignment(p, mixed);
  it.each<[string, unknown]>([
    ['nothing', null], ['a number', 3], ['a list', []], ['another version', { ...file, version: 2 }],
    ['no layers', { ...file, layers: undefined }], ['null layers', { ...file, layers: null }],
    ['a list of layers', { ...file, layers: [] }], ['null activations', { ...file, activations: null }],
    ['an unknown layer', { ...file, layers: { ...file.layers, extra: { weights: 4 } } }],
    ['an unknown value', { ...file, activations: { ...file.activations, extra: 4 } }],
    ['a layer among the values', { ...file, activations: { ...file.activations, stem: 4 } }],
    ['a missing layer', { ...file, layers: { stem: { weights: 4 } } }], ['a missing value', { ...file, activations: {} }],
    ...[0, 9, 2.5, '4', null, undefined, NaN].map((weights): [string, unknown] =>
      [`${weights} bits`, { ...file, layers: { ...file.layers, a: { weights } } }]),
    ['a layer that is null', { ...file, layers: { ...file.layers, a: null } }],
  ])('refuses %s (E502)', (_, json) => {
    expect(() => readAssignment(p, json)).toThrowError(code('E502'));
  });
});

describe('uniform', () => {
  const search = async (over: Partial<SearchProblem>): Promise<{ w: number[]; a: number[]; pareto: number }> => {
    const p = problem(over);
    const r = await uniform.search(p, {});
    for (const q of r.pareto) expect(q.weightBits).toBeGreaterThan(0);
    return { w: [...r.choice.weights.values()], a: [...r.choice.activations.values()], pareto: r.pareto.length };
  };
  const budget = (text: string): Partial<SearchProblem> => ({ budget: parseBudget(text, problem().graph, problem()) });

  it('takes the widest bits without a budget, and pins where they are', async () => {
    expect(await search({})).toEqual({ w: [8, 8, 8, 8], a: [8, 8, 8, 8, 8], pareto: 6 });
    expect(await search({ weightBits: [3], activationBits: [4], pins: new Map([['a', { weights: 8, activations: 8 }]]) }))
      .toEqual({ w: [3, 8, 3, 3], a: [4, 8, 8, 4, 4], pareto: 1 });
  });

  it('takes the widest narrower side that fits, then the widest pair, then activations', async () => {
    expect(await search(budget('bits=4'))).toMatchObject({ w: [4, 4, 4, 4], a: [8, 8, 8, 8, 8] });
    expect(await search(budget('bits=7.99'))).toMatchObject({ w: [4, 4, 4, 4] });
    expect(await search(budget('bops=50%'))).toMatchObject({ w: [4, 4, 4, 4], a: [8, 8, 8, 8, 8] });
    expect(await search({ ...budget('bops=13%'), weightBits: [1, 2, 4], activationBits: [1, 2, 4] })).toMatchObject({ w: [2, 2, 2, 2] });
    expect(await search(budget('size=100%w8a8'))).toMatchObject({ w: [8, 8, 8, 8] });
  });

  it('names the smallest that would do (E501), and that budget does', async () => {
    for (const text of ['bits=1', 'bops=2%', 'size=50B']) {
      const p = problem(budget(text));
      const error = await uniform.search(p, {}).then(() => null, (e: { diagnostic: { code: string; expected: string } }) => e.diagnostic);
      expect(error?.code).toBe('E501');
      const least = error!.expected.replace('at least ', '');
      const r = await uniform.search({ ...p, budget: parseBudget(least, p.graph, p) }, {});
      expect(choiceCost(p, r.choice)).toBe(choiceCost(p, choice(p, 2, text.startsWith('bops') ? 4 : 8)));
    }
  });
});
