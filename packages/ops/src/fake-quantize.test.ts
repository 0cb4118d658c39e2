/** Fake quantisers: their values, and their straight-through gradients, which are not derivatives, by the papers' formulas. */
import { Rng, type Tensor, tensorOf, toNumbers } from '@bitloom/tensor';
import { describe, expect, it } from 'vitest';
import { evaluateGraph } from './evaluate.js';
import { checkGradient } from './gradients.test.util.js';
import { createBuilder, dorefaWeights, getOp } from './index.js';

const rng = new Rng(21);
const normal = (shape: readonly number[], size = 1): Tensor =>
  tensorOf('f32', shape, Float32Array.from({ length: shape.reduce((p, d) => p * d, 1) }, () => size * rng.normal()));

/** y, and the cotangents of all inputs for a random one of y. */
function run(op: string, attrs: unknown, inputs: readonly Tensor[]): { y: number[]; dy: number[]; dx: number[][] } {
  const b = createBuilder('q');
  const xs = inputs.map((t) => b.const(t));
  const y = b.add(op, xs, attrs);
  const cotangent = normal(inputs[0].shape);
  const ds = getOp(op).gradient!(b, { inputs: xs, outputs: [y], attrs, cotangents: [b.const(cotangent)] }).map((d) => d!);
  const values = evaluateGraph(b.build([y, ...ds]), new Map());
  return { y: toNumbers(values.get(y)!), dy: toNumbers(cotangent), dx: ds.map((d) => toNumbers(values.get(d)!)) };
}

const close = (found: readonly number[], wanted: readonly number[]): void => {
  expect(found).toHaveLength(wanted.length);
  wanted.forEach((w, i) => expect(found[i], `element ${i}`).toBeCloseTo(w, 4));
};
const roundEven = (v: number): number => (Math.abs(v % 1) === 0.5 ? 2 * Math.round(v / 2) : Math.round(v));
const clamp = (v: number, lo: number, hi: number): number => Math.min(hi, Math.max(lo, v));

describe('lsq', () => {
  // Channels of 20 elements, each with a step of its own; codes beyond both bounds.
  const x = normal([3, 20], 2);
  it.each([[-2, 1], [-8, 7], [0, 15]])('codes %i to %i, a step a channel', (lo, hi) => {
    const steps = [0.5, 0.11, 0.3];
    const { y, dy, dx: [dx, ds] } = run('lsq', { lo, hi, gradientScale: 0.25 }, [x, tensorOf('f32', [3, 1], steps)]);
    const v = toNumbers(x);
    const s = (i: number): number => steps[Math.floor(i / 20)];
    const [inside, code] = [v.map((e, i) => e / s(i) >= lo && e / s(i) <= hi), v.map((e, i) => clamp(roundEven(e / s(i)), lo, hi))];
    close(y, code.map((q, i) => q * s(i)));
    close(dx, dy.map((d, i) => (inside[i] ? d : 0)));
    close(ds, steps.map((_, c) => 0.25 * dy.reduce((sum, d, i) => (Math.floor(i / 20) === c ? sum + d * (code[i] - (inside[i] ? v[i] / s(i) : 0)) : sum), 0)));
    expect(inside.some(Boolean) && !inside.every(Boolean)).toBe(true);
  });

  it('a learnt offset', () => {
    const [s, o, lo, hi] = [0.4, -0.7, 0, 7];
    const { y, dy, dx: [dx, ds, dO] } = run('lsq', { lo, hi, gradientScale: 1 }, [x, tensorOf('f32', [], [s]), tensorOf('f32', [], [o])]);
    const r = toNumbers(x).map((e) => (e - o) / s);
    const [inside, code] = [r.map((e) => e >= lo && e <= hi), r.map((e) => clamp(roundEven(e), lo, hi))];
    close(y, code.map((q) => q * s + o));
    close(dx, dy.map((d, i) => (inside[i] ? d : 0)));
    close(ds, [dy.reduce((sum, d, i) => sum + d * (code[i] - (inside[i] ? r[i] : 0)), 0)]);
    close(dO, [dy.reduce((sum, d, i) => sum + (inside[i] ? 0 : d), 0)]);
  });
});

it('pact: the level learns from what it clips', () => {
  const x = normal([40], 2);
  const { y, dy, dx: [dx, da] } = run('pact', { bits: 3 }, [x, tensorOf('f32', [], [1.5])]);
  const v = toNumbers(x);
  close(y, v.map((e) => (roundEven((clamp(e, 0, 1.5) * 7) / 1.5) * 1.5) / 7));
  close(dx, dy.map((d, i) => (v[i] >= 0 && v[i] < 1.5 ? d : 0)));
  close(da, [dy.reduce((s, d, i) => s + (v[i] >= 1.5 ? d : 0), 0)]);
});

it('binarize', () => {
  const x = normal([2, 30]);
  const { y, dy, dx: [dx, ds] } = run('binarize', {}, [x, tensorOf('f32', [2, 1], [0.5, 2])]);
  const v = toNumbers(x);
  const sign = (i: number): number => (v[i] >= 0 ? 1 : -1);
  close(y, v.map((_, i) => sign(i) * (i < 30 ? 0.5 : 2)));
  close(dx, dy.map((d, i) => (Math.abs(v[i]) <= 1 ? d : 0)));
  close(ds, [0, 1].map((c) => dy.reduce((s, d, i) => (Math.floor(i / 30) === c ? s + d * sign(i) : s), 0)));
});

it('power_of_two', () => {
  const x = tensorOf('f32', [9], [0, 0.9, -0.6, 0.3, -0.1, 0.05, 1.3, -1.6, 9]);
  const { y, dy, dx: [dx, ds] } = run('power_of_two', { octaves: 3, gradientScale: 0.5 }, [x, tensorOf('f32', [], [1])]);
  close(y, [0, 1, -0.5, 0.25, 0, 0, 1, -1, 1]);
  const v = toNumbers(x);
  const inside = v.map((e) => Math.abs(e) <= Math.SQRT2);
  close(dx, dy.map((d, i) => (inside[i] ? d : 0)));
  close(ds, [0.5 * dy.reduce((s, d, i) => s + d * (y[i] - (inside[i] ? v[i] : 0)), 0)]);
});

describe('levels and DoReFa weights', () => {
  it('levels pass gradients through', () => {
    const { y, dy, dx: [dx] } = run('levels', { bits: 2 }, [tensorOf('f32', [4], [0, 0.2, 0.5, 0.9])]);
    close(y, [0, 1 / 3, 2 / 3, 1]);
    expect(dx).toEqual(dy);
  });

  it.each([1, 2, 4])('%i bits: the values of the paper', (bits) => {
    const w = normal([3, 5]);
    const b = createBuilder('w');
    const y = dorefaWeights(b, b.const(w), bits);
    const v = toNumbers(w);
    const [most, mean, n] = [Math.max(...v.map((e) => Math.abs(Math.tanh(e)))), v.reduce((s, e) => s + Math.abs(e), 0) / v.length, 2 ** bits - 1];
    close(toNumbers(evaluateGraph(b.build([y]), new Map()).get(y)!),
      v.map((e) => (bits === 1 ? Math.sign(e) * mean : (2 * Math.round(n * (Math.tanh(e) / (2 * most) + 0.5))) / n - 1)));
  });

  it('at many levels the gradient is that of tanh', () => {
    // At 8 bits, and with steps of the differences much larger than those of the levels, the function is hardly a staircase.
    checkGradient((b, [x]) => [dorefaWeights(b, x, 8)], [tensorOf('f32', [4], [0.4, -0.3, 0.9, 2])], { order: 1, step: 1 / 8, tolerance: 2e-2 });
  });
});

describe('mixed_lsq', () => {
  const shares = [0.5, 0.2, 0.3];
  it.each([['unsigned', [0, 0, 0], [1, 3, 15], []], ['signed', [-2, -4, -8], [1, 3, 7], []], ['with a zero point', [-3, -3, 0], [4, 12, 15], []], ['a step a channel', [-2, -4, -8], [1, 3, 7], [3, 1]]] as const)(
    '%s: values and gradients are those of its quantisers, weighted', (_, los, his, shape) => {
      const x = normal([3, 20], 2);
      const steps = [0.9, 0.5, 0.13].map((s) => tensorOf('f32', shape, shape.length === 0 ? [s] : [s, 1.5 * s, 0.7 * s]));
      const quantizers = los.map((lo, i) => ({ lo, hi: his[i], gradientScale: 0.25 * (i + 1) }));
      const b = createBuilder('q');
      const [xs, ss, ps] = [b.const(x), steps.map((s) => b.const(s)), shares.map((p) => b.const(tensorOf('f32', [], [p])))];
      const dy = b.const(normal(x.shape));
      const y = b.add('mixed_lsq', [xs, ...ss.flatMap((s, i) => [s, ps[i]])], { quantizers });
      const found = [y, ...getOp('mixed_lsq').gradient!(b, { inputs: [xs, ...ss.flatMap((s, i) => [s, ps[i]])], outputs: [y], attrs: { quantizers }, cotangents: [dy] }).map((d) => d!)];
      const each = quantizers.map((attrs, i) => {
        const q = b.add('lsq', [xs, ss[i]], attrs);
        const [dx, ds] = getOp('lsq').gradient!(b, { inputs: [xs, ss[i]], outputs: [q], attrs, cotangents: [dy] }).map((d) => d!);
        return { q, dx, ds };
      });
      const values = evaluateGraph(b.build([...found, dy, ...each.flatMap(({ q, dx, ds }) => [q, dx, ds])]), new Map());
      const of = (id: string): number[] => toNumbers(values.get(id)!);
      const weighted = (pick: (e: (typeof each)[number]) => string): number[] => of(found[0]).map((_v, k) => each.reduce((sum, e, i) => sum + shares[i] * of(pick(e))[k], 0));
      close(of(found[0]), weighted((e) => e.q));
      close(of(found[1]), weighted((e) => e.dx));
      each.forEach(({ q, ds }, i) => {
        close(of(found[2 + 2 * i]), of(ds).map((d) => shares[i] * d));
        close(of(found[3 + 2 * i]), [of(q).reduce((sum, v, k) => sum + v * of(dy)[k], 0)]);
      });
    });

  it('a value at the bound, as clipped activations have it, is inside', () => {
    const s = Math.fround(6 / 15);
    const { dx: [dx] } = run('mixed_lsq', { quantizers: [{ lo: 0, hi: 15, gradientScale: 1 }] }, [tensorOf('f32', [3], [6, 6.01, 0]), tensorOf('f32', [], [s]), tensorOf('f32', [], [1])]);
    expect(dx.map((d) => Math.abs(d) > 1e-5)).toEqual([true, false, true]);
  });
});
