/** Streams: where layers read them at bits of their own, and that nothing else changes. */
import { type Graph, type GraphBuilder, type ValueId, consumers, producers, valueOf, verifyGraph } from '@bitloom/ir';
import { type Program, runProgram } from '@bitloom/kernel-spec';
import type { Bits, QuantParams } from '@bitloom/numerics';
import { compose, createBuilder, evaluateGraph, opTable } from '@bitloom/ops';
import { allocate } from '@bitloom/tensor';
import { describe, expect, it } from 'vitest';
import {
  MOVES, STREAM_BITS, activationScheme, applyAssignment, applyCalibration, joinStreams, layerBits, layersOf, lowerGraph, markCandidates, quantizable, splitStreams, weightScheme,
} from './index.js';
import { Sampler, eighths, evaluateFakeQuantized, inputsOf, normal, quantizeAtRandom } from './networks.test.util.js';

const conv = (b: GraphBuilder, x: ValueId, outs: number, kernel = 3): ValueId => {
  const pads = new Array<number>(4).fill((kernel - 1) / 2);
  const w = b.const(allocate('f32', [outs, b.shapeOf(x)[1], kernel, kernel]), 'w');
  return b.add('conv', [x, w], { strides: [1, 1], dilations: [1, 1], pads, group: 1, activation: { min: 0, max: Infinity } });
};
const halves = { kernel: [2, 2], strides: [2, 2], pads: [0, 0, 0, 0], dilations: [1, 1], ceilExtra: [0, 0] };

/** Values of each group, and those of which a layer reads one. */
function sites(g: Graph): { groups: (readonly ValueId[])[]; read: (readonly ValueId[])[] } {
  const { groups } = quantizable(g);
  return { groups: groups.map((a) => a.values), read: groups.filter((a) => a.layers.length > 0).map((a) => a.values) };
}
/** What each requantize reads, by what it makes. */
const requantized = (g: Graph): Record<ValueId, ValueId> =>
  Object.fromEntries(g.nodes.filter((n) => n.op === 'requantize').map((n) => [n.outputs[0], n.inputs[0]]));
/** Verified. */
function split(g: Graph): Graph {
  const h = splitStreams(g);
  verifyGraph(h, opTable);
  return h;
}

/** stem ∥ (mid → inner) → add → end. */
function residual(): { g: Graph; x: ValueId; stem: ValueId; mid: ValueId; inner: ValueId; sum: ValueId } {
  const b = createBuilder('residual');
  const x = b.input('x', { dtype: 'f32', shape: [1, 4, 4, 4] });
  const stem = conv(b, x, 4);
  const mid = conv(b, stem, 4);
  const inner = conv(b, mid, 4);
  const sum = compose.add(b, stem, inner);
  return { g: b.build([conv(b, sum, 2)]), x, stem, mid, inner, sum };
}

/** Weights, inputs of layers and streams at the bits given, with scales that differ by value. */
function calibrated(g: Graph, w: Bits, a: Bits, streams: Bits = STREAM_BITS): Graph {
  const { layers, groups } = quantizable(g);
  const order = [...g.values.keys()].filter((id) => !id.endsWith('.requantized'));
  const params = new Map<ValueId, QuantParams>(layers.map((l) => {
    const n = valueOf(g, l.weight).type.shape[0];
    return [l.weight, { scheme: weightScheme(w), scale: new Float32Array(n).fill(0.5), zeroPoint: new Int32Array(n) }];
  }));
  for (const group of groups) {
    const scheme = activationScheme(group.layers.length > 0 ? a : streams);
    for (const v of group.values) params.set(v, { scheme, scale: Float32Array.of(2 + order.indexOf(group.id)), zeroPoint: Int32Array.of(1) });
  }
  const schemes = new Map([...params].map(([id, p]) => [id, p.scheme]));
  const done = applyCalibration(applyAssignment(markCandidates(g, [w], [a]), schemes), params);
  verifyGraph(done, opTable);
  return done;
}

describe('splitStreams', () => {
  it('a residual block: the layer inside reads the stream at bits of its own; its addition and what follows are as they were', () => {
    const { g, x, stem, mid, inner, sum } = residual();
    const h = split(g);
    const [[id, from], ...more] = Object.entries(requantized(h));
    expect([from, more]).toEqual([stem, []]);
    expect(valueOf(h, id)).toEqual({ ...valueOf(h, stem), id, name: `${valueOf(g, stem).name}.requantized` });
    expect(layersOf(h).map((l) => l.input)).toEqual([x, id, mid, sum]);
    expect(h.nodes.find((n) => n.op === 'add')!.inputs).toEqual([stem, inner]);
    expect(sites(h)).toEqual({ groups: [[x], [stem], [id], [mid], [inner], [sum]], read: [[x], [id], [mid], [sum]] });
  });

  it('a branch of a concatenation; layers that read the same stream read the same', () => {
    const b = createBuilder('concat');
    const x = b.input('x', { dtype: 'f32', shape: [1, 3, 4, 4] });
    const stem = conv(b, x, 2);
    const [p, q] = [conv(b, stem, 2), conv(b, stem, 2, 1)];
    const both = b.add('concat', [p, q, stem], { axis: 1 });
    const h = split(b.build([conv(b, both, 2)]));
    const [id] = Object.keys(requantized(h));
    expect(requantized(h)).toEqual({ [id]: stem });
    expect(layersOf(h).map((l) => l.input)).toEqual([x, id, id, both]);
    expect(h.nodes.find((n) => n.op === 'concat')!.inputs).toEqual([p, q, stem]);
    expect(sites(h).groups).toEqual([[x], [stem], [id], [p], [q], [both]]);
  });

  it('through max pooling: what is pooled is a stream wherever it is added up', () => {
    const b = createBuilder('pooled');
    const x = b.input('x', { dtype: 'f32', shape: [1, 3, 4, 4] });
    const stem = conv(b, x, 4);
    const pooled = b.add('max_pool', [stem], halves);
    const h = split(b.build([conv(b, pooled, 2), conv(b, compose.add(b, stem, conv(b, x, 4)), 2)]));
    const [id] = Object.keys(requantized(h));
    expect(requantized(h)).toEqual({ [id]: pooled });
    expect(sites(h).groups.slice(0, 3)).toEqual([[x], [stem, pooled], [id]]);
    expect(quantizable(h).groups[1].layers).toEqual([]);

    // A layer before the pool and one behind it are at bits of their own each.
    const c = createBuilder('both');
    const s = conv(c, c.input('x', { dtype: 'f32', shape: [1, 3, 4, 4] }), 4);
    const small = c.add('max_pool', [s], halves);
    const both = split(c.build([conv(c, small, 2), conv(c, compose.add(c, s, conv(c, s, 4)), 2)]));
    expect(Object.values(requantized(both))).toEqual([s, small]);
    expect(sites(both).read.flat()).toEqual(expect.arrayContaining(Object.keys(requantized(both))));
  });

  it('an input of the graph', () => {
    const b = createBuilder('input');
    const x = b.input('x', { dtype: 'f32', shape: [1, 4, 4, 4] });
    const h = split(b.build([conv(b, compose.add(b, x, conv(b, x, 4)), 2)]));
    const [id] = Object.keys(requantized(h));
    expect(requantized(h)).toEqual({ [id]: x });
    expect(h.inputs).toEqual([x]);
    expect(producers(h).get(id)!.origin).toBe('x');
    expect(sites(h).read).toEqual([[id], [expect.stringContaining('add')]]);
  });

  it('no stream, no other graph: chains, and layers that read the same', () => {
    const b = createBuilder('chain');
    const x = b.input('x', { dtype: 'f32', shape: [1, 3, 4, 4] });
    const pooled = b.add('max_pool', [conv(b, x, 4)], halves);
    const g = b.build([compose.add(b, conv(b, pooled, 2), conv(b, pooled, 2))]);
    expect(splitStreams(g)).toBe(g);
    expect(joinStreams(g)).toBe(g);
  });

  it('is done once', () => {
    const h = split(residual().g);
    expect(splitStreams(h)).toBe(h);
  });
});

describe('joinStreams', () => {
  it('f32: the graph and the program as if nothing had been split', () => {
    const { g } = residual();
    expect(joinStreams(split(g))).toEqual(g);
    expect(lowerGraph(split(g))).toEqual(lowerGraph(g));
  });

  it('W8A8: the same program, too', () => {
    const { g } = residual();
    const h = calibrated(split(g), 8, 8);
    expect(requantized(h)).toEqual({});
    expect(h).toEqual(calibrated(g, 8, 8));
    expect(lowerGraph(h)).toEqual(lowerGraph(calibrated(g, 8, 8)));
  });

  it('W2A2: additions read 8 bits, layers 2, by one more call', () => {
    const { g, stem, inner } = residual();
    const h = calibrated(split(g), 2, 2);
    const [id] = Object.keys(requantized(h));
    expect(layersOf(h).map((l) => layerBits(h, l))).toEqual(Array(4).fill({ weights: 2, activations: 2 }));
    const program = lowerGraph(h);
    expect(program.calls.length).toBe(lowerGraph(calibrated(g, 2, 2)).calls.length + 1);
    const bits = (p: Program, call: Program['calls'][number]): unknown =>
      [call.args, call.results].map((all) => all.flatMap((i) => (p.buffers[i].data ? [] : [[p.buffers[i].name, p.buffers[i].quant?.scheme.bits]])));
    const nameOf = (v: ValueId): string => valueOf(h, v).name;
    const writes = (v: ValueId): Program['calls'][number] => program.calls.find((c) => program.buffers[c.results[0]].name === nameOf(v))!;
    expect(bits(program, writes(id))).toEqual([[[nameOf(stem), 8]], [[nameOf(id), 2]]]);
    const sum = h.nodes.find((n) => n.op === 'add')!.outputs[0];
    expect(bits(program, writes(sum))).toEqual([[[nameOf(stem), 8], [nameOf(inner), 8]], [[nameOf(sum), 2]]]);
    for (const c of program.calls) if (c.family === 'conv') expect([c.params.weightBits, c.params.activationBits, program.buffers[c.args[0]].quant!.scheme.bits]).toEqual([2, 2, 2]);
  });

  it('bits that happen to be equal are one value; others, and float beside codes, stay two', () => {
    const { g } = residual();
    expect(requantized(calibrated(split(g), 8, 3, 3))).toEqual({});
    expect(Object.keys(requantized(calibrated(split(g), 8, 8, 3))).length).toBe(1);
    const h = split(g);
    const [[id, from]] = Object.entries(requantized(h));
    for (const v of [id, from]) {
      const one = applyAssignment(markCandidates(h, [8], [8]), new Map([[v, activationScheme(8)]]));
      expect(requantized(one)).toEqual({ [id]: from });
    }
  });

  it('keeps what is an output, and joins chains', () => {
    const b = createBuilder('chain');
    const x = b.input('x', { dtype: 'f32', shape: [2] });
    const [y, z] = [0, 1].reduce<ValueId[]>((all) => [...all, b.add('requantize', [all.at(-1) ?? x])], []);
    const out = b.add('requantize', [z]);
    const relu = b.add('relu', [z]);
    const joined = joinStreams(b.build([out, relu]));
    verifyGraph(joined, opTable);
    expect(joined.nodes.map((n) => [n.op, n.inputs, n.outputs])).toEqual([['requantize', [x], [out]], ['relu', [x], [relu]]]);
    expect([y, z].some((v) => joined.values.has(v))).toBe(false);
  });
});

describe('random networks', () => {
  const seeds = Array.from({ length: 60 }, (_, i) => i);
  const network = (seed: number): Sampler => new Sampler(2000 + seed, normal);

  it('have streams', () => {
    const count = seeds.filter((seed) => {
      const sampler = network(seed);
      return Object.keys(requantized(split(sampler.build(4 + sampler.rng.int(12))))).length > 0;
    }).length;
    expect(count).toBeGreaterThan(15);
  });

  it.each(seeds)('split: the same values, the same f32 and W8A8 programs, and what layers read is read by layers alone (%i)', (seed) => {
    const sampler = network(seed);
    const g = sampler.build(4 + sampler.rng.int(12));
    const h = split(g);
    const users = consumers(h);
    const layerNodes = new Set(layersOf(h).map((l) => l.node));
    for (const v of sites(h).read.flat()) {
      for (const n of users.get(v) ?? []) expect(layerNodes.has(n) || MOVES.has(n.op), `%${v} is read by ${n.op}`).toBe(true);
    }
    expect(splitStreams(h)).toBe(h);
    expect(layersOf(h).map(({ name, params, macs }) => [name, params, macs])).toEqual(layersOf(g).map(({ name, params, macs }) => [name, params, macs]));
    const inputs = inputsOf(g, (shape) => normal(shape, sampler.rng));
    expect(evaluateGraph(h, inputs)).toEqual(evaluateGraph(g, inputs));
    expect(lowerGraph(h)).toEqual(lowerGraph(g));
    expect(lowerGraph(calibrated(h, 8, 8))).toEqual(lowerGraph(calibrated(g, 8, 8)));
  });

  it.each(seeds)('quantised at random equal fake quantisation bit for bit (%i)', (seed) => {
    const sampler = new Sampler(3000 + seed, eighths);
    const g = quantizeAtRandom(split(sampler.build(4 + sampler.rng.int(12))), sampler.rng, [0, 0, 0.3][seed % 3], true);
    verifyGraph(g, opTable);
    const inputs = inputsOf(g, (shape) => eighths(shape, sampler.rng));
    const [found, wanted] = [runProgram(lowerGraph(g), inputs), evaluateFakeQuantized(g, inputs)];
    for (const id of g.outputs) expect(found.get(id)).toEqual(wanted.get(id));
  });
});
