/** Mixtures of quantisers, their gradients and their expected cost. */
import { GraphBuilder, type ValueId } from '@bitloom/ir';
import { type QuantParams, fakeQuantize } from '@bitloom/numerics';
import { compose, createBuilder, evaluateGraph, opTable } from '@bitloom/ops';
import { type BitChoice, activationChoices, choiceCost, weightChoices } from '@bitloom/search';
import { Rng, type Tensor, elementCount, tensor, tensorOf, toNumbers } from '@bitloom/tensor';
import { mixedSteps, trainable } from '@bitloom/train';
import { addGradients } from '@bitloom/transforms';
import { describe, expect, it } from 'vitest';
import { likeliest } from './allocate.js';
import { expectedShare, gumbel, penalty, strengthsOf } from './mixture.js';
import { initialQuantizers } from './network.js';
import { network, normal, problem } from './networks.test.util.js';
import { type Variable, decided, expectedCost, logShares, meanEntropy, variablesOf } from './variables.js';

const p = problem('bops=20%');
const variables = variablesOf(p, p.budget!);
const strengths = (seed: number): Float32Array => normal([variables.size], seed).data as Float32Array;
const g = network(4);
const quantizers = initialQuantizers(g, p, variables);

describe('quantisers of several bits', () => {
  const shapes = new Map<ValueId, readonly number[]>(g.nodes.flatMap((n) => n.outputs.map((o) => [o, g.values.get(o)!.type.shape] as const)));
  const open = variables.all.filter((v) => v.bits.length > 1);
  const mixed = (v: Variable, x: Tensor): { b: GraphBuilder; y: ValueId; r: ValueId; feeds: (r: Float32Array) => Map<ValueId, Tensor> } => {
    const b = createBuilder('mixture');
    const s = strengthsOf(b, variables);
    const steps = mixedSteps(new Map([[v.id, quantizers.get(v.id)!]]), () => s.scalars(v));
    const id = b.input('tensor', { dtype: 'f32', shape: x.shape });
    const layer = p.layers.find((l) => l.weight === v.id);
    const y = layer ? steps.weight!(b, layer, id, new Float32Array(x.shape[0]).fill(1)) : steps.value!(b, v.id, id);
    const step = [...steps.steps.get(v.id)!].map((q) => [q.id, q.initial] as const);
    return { b, y, r: s.parameter.id, feeds: (r) => new Map([...step, [id, x], [s.parameter.id, tensor('f32', [variables.size], r)], [s.noise, tensor('f32', [variables.size], new Float32Array(variables.size))], [s.sharpness, tensorOf('f32', [], [1])]]) };
  };

  it.each(open.map((v) => [v.id, v] as const))('%s: Σ pᵢQᵢ, and ∂L/∂rᵢ = pᵢ(⟨G, Qᵢ⟩ − Σ pₖ⟨G, Qₖ⟩)', (_, v) => {
    const x = normal(shapes.get(v.id) ?? [4, 3, 4, 4], 7, 0.4);
    const { b, y, r, feeds } = mixed(v, x);
    const cotangent = normal(x.shape, 8);
    const loss = compose.reduceSum(b, compose.mul(b, y, b.const(cotangent)), x.shape.map((_n, i) => i), false);
    const whole = b.build([loss]);
    const d = GraphBuilder.from(whole, opTable);
    const one = compose.scalarLike(d, loss, 1);
    const gradient = addGradients(d, whole, new Map([[loss, one]]), [r]).get(r)!;
    const own = strengths(5);
    const values = evaluateGraph(d.build([y, gradient]), feeds(own));
    const grids = quantizers.get(v.id)!.map((q: QuantParams) => fakeQuantize(x.data as Float32Array, x.shape, q));
    const shares = logShares(v, own).map(Math.exp);
    const [found, dr] = [toNumbers(values.get(y)!), toNumbers(values.get(gradient)!)];
    expect(elementCount(x.shape)).toBe(found.length);
    found.forEach((f, k) => expect(f).toBeCloseTo(grids.reduce((sum, q, i) => sum + shares[i] * q[k], 0), 4));
    const along = grids.map((q) => q.reduce((sum, e, k) => sum + e * Number(cotangent.data[k]), 0));
    const mean = along.reduce((sum, a, i) => sum + shares[i] * a, 0);
    const size = Math.max(...along.map(Math.abs));
    dr.forEach((e, k) => {
      const i = k - v.offset;
      expect(Math.abs(e - (i >= 0 && i < v.bits.length ? shares[i] * (along[i] - mean) : 0)) / size, `strength ${k}`).toBeLessThan(1e-5);
    });
    // The loss is smooth in the strengths.
    const at = (h: number): number => toNumbers(evaluateGraph(whole, feeds(own.map((e, k) => (k === v.offset ? e + h : e)))).get(loss)!)[0];
    expect(Math.abs((at(0.05) - at(-0.05)) / 0.1 - dr[v.offset]) / size).toBeLessThan(2e-3);
  });

  it('a network holds one convolution a layer, whatever the candidates', () => {
    const count = (bits: 1 | 5): number => {
      const q = problem('bops=20%', { weightBits: bits === 1 ? [4] : [1, 2, 3, 4, 5], activationBits: bits === 1 ? [4] : [1, 2, 3, 4, 5] });
      const v = variablesOf(q, q.budget!);
      let s: ReturnType<typeof strengthsOf> | null = null;
      const t = trainable(g, mixedSteps(initialQuantizers(g, q, v), (b, id) => (s ??= strengthsOf(b, v)).scalars(v.of.get(id)!)));
      return t.b.build([t.values.get(g.outputs[0])!]).nodes.filter((n) => n.op === 'conv').length;
    };
    expect([count(1), count(5)]).toEqual([3, 3]);
  });
});

/** Bits at random among those allowed. */
function randomChoice(q: typeof p, seed: number): BitChoice {
  const rng = new Rng(seed);
  return {
    weights: new Map(q.layers.map((l) => [l.name, weightChoices(q, l)[rng.int(weightChoices(q, l).length)]])),
    activations: new Map([...activationChoices(q)].map(([id, bits]) => [id, bits[rng.int(bits.length)]])),
  };
}

describe('expected cost', () => {
  it.each(['bops=20%', 'size=500', 'bits=3', 'latency=2us'])('of decided strengths is that of the choice: %s', (budget) => {
    const q = problem(budget, { pins: new Map([['stem', { weights: 8, activations: 8 }]]) });
    const v = variablesOf(q, q.budget!);
    for (let seed = 1; seed < 6; seed++) {
      const c = randomChoice(q, seed);
      const found = expectedCost(v, decided(q, v, c));
      expect(found / choiceCost(q, c)).toBeCloseTo(1, 9);
      expect(meanEntropy(v, decided(q, v, c))).toBe(0);
    }
  });

  it.each(['bops=20%', 'size=500', 'latency=2us'])('is in the graph what it is in numbers: %s', (budget) => {
    const q = problem(budget);
    const v = variablesOf(q, q.budget!);
    const b = createBuilder('cost');
    const s = strengthsOf(b, v);
    const share = expectedShare(b, v, s, q.budget!.limit);
    const penalties = (['hinge', 'l1', 'linear'] as const).map((kind) => penalty(b, kind, share));
    for (let seed = 1; seed < 4; seed++) {
      const r = normal([v.size], seed, 2);
      const noise = gumbel(v.size, 1, seed);
      const values = evaluateGraph(b.build([share, ...penalties]), new Map([[s.parameter.id, r], [s.noise, noise], [s.sharpness, tensorOf('f32', [], [2])]]));
      const sharp = toNumbers(r).map((e) => 2 * e); // noise does not count
      const wanted = expectedCost(v, sharp) / q.budget!.limit;
      expect(toNumbers(values.get(share)!)[0]).toBeCloseTo(wanted, 4);
      expect(penalties.map((k) => toNumbers(values.get(k)!)[0])).toEqual([Math.max(0, wanted - 1), Math.abs(wanted - 1), wanted].map((e) => expect.closeTo(e, 4)));
    }
  });

  it('noise depends on seed and number, and is that of Gumbel', () => {
    expect(gumbel(9, 1, 5)).toEqual(gumbel(9, 1, 5));
    expect(gumbel(9, 1, 5)).not.toEqual(gumbel(9, 1, 6));
    expect(gumbel(9, 1, 5)).not.toEqual(gumbel(9, 2, 5));
    const all = toNumbers(gumbel(20000, 1, 1));
    expect(all.reduce((s, e) => s + e, 0) / all.length).toBeCloseTo(0.5772, 1);
  });
});

describe('the choice', () => {
  it.each(['bops=8%', 'bops=100%', 'size=600', 'latency=1800ns'])('is the likeliest of all that fit, and what is left is spent where fewer bits may not suffice: %s', (budget) => {
    const q = problem(budget, { weightBits: [1, 2, 4], pins: new Map([['head', { weights: 4, activations: null }]]) });
    const v = variablesOf(q, q.budget!);
    let all: BitChoice[] = [{ weights: new Map(), activations: new Map() }];
    for (const l of q.layers) all = all.flatMap((c) => weightChoices(q, l).map((bits) => ({ ...c, weights: new Map([...c.weights, [l.name, bits]]) })));
    for (const [id, bits] of activationChoices(q)) all = all.flatMap((c) => bits.map((bit) => ({ ...c, activations: new Map([...c.activations, [id, bit]]) })));
    const fitting = all.filter((c) => choiceCost(q, c) <= q.budget!.limit);
    const bitsOf = (c: BitChoice, u: Variable): number => {
      const layer = q.layers.find((l) => l.weight === u.id);
      return layer ? c.weights.get(layer.name)! : c.activations.get(u.id)!;
    };
    for (let seed = 1; seed < 6; seed++) {
      const r = normal([v.size], seed, 2).data as Float32Array;
      const sum = (c: BitChoice, of: (u: Variable, bits: number) => number): number => v.all.reduce((s, u) => s + of(u, bitsOf(c, u)), 0);
      const likelihood = (c: BitChoice): number => sum(c, (u, bits) => logShares(u, r)[u.bits.indexOf(bits as never)]);
      const suffices = (c: BitChoice): number => sum(c, (u, bits) => Math.log(u.bits.reduce((s, b, i) => s + (b <= bits ? Math.exp(logShares(u, r)[i]) : 0), 0)));
      const likely = fitting.reduce((a, c) => (likelihood(c) > likelihood(a) ? c : a));
      const wider = fitting.filter((c) => v.all.every((u) => bitsOf(c, u) >= bitsOf(likely, u)));
      const c = likeliest(q, v, r);
      expect(choiceCost(q, c)).toBeLessThanOrEqual(q.budget!.limit);
      for (const u of v.all) expect(bitsOf(c, u), u.id).toBeGreaterThanOrEqual(bitsOf(likely, u));
      expect(suffices(c)).toBeCloseTo(Math.max(...wider.map(suffices)), 6);
    }
  });
});
