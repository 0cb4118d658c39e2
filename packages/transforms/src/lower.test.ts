/** Lowered programs compute what the graph says: in float, and in integers where it is calibrated. */
import { type Graph, type ValueId, valueOf, verifyGraph, withPrecision } from '@bitloom/ir';
import { type Program, checkProgram, runProgram } from '@bitloom/kernel-spec';
import { type Bits, type QuantParams, dequantizeValue } from '@bitloom/numerics';
import { compose, createBuilder, evaluateGraph, opTable } from '@bitloom/ops';
import { Rng, type Tensor, tensorOf, toNumbers } from '@bitloom/tensor';
import { describe, expect, it } from 'vitest';
import { activationScheme, isPointwise, lowerGraph, pointwiseClusters, weightScheme } from './index.js';
import { Sampler, eighths, evaluateFakeQuantized, inputsOf, normal, quantizeAtRandom } from './networks.test.util.js';

const seeds = (n: number): number[] => Array.from({ length: n }, (_, i) => i);

/** Outputs of the lowered program by value id. */
function lowered(g: Graph, inputs: ReadonlyMap<ValueId, Tensor>): Map<ValueId, Tensor> {
  const program = lowerGraph(g);
  checkProgram(program);
  return runProgram(program, inputs);
}

function expectSame(found: ReadonlyMap<ValueId, Tensor>, wanted: ReadonlyMap<ValueId, Tensor>, ids: readonly ValueId[]): void {
  for (const id of ids) {
    const [y, z] = [found.get(id)!, wanted.get(id)!];
    expect([y.dtype, y.shape], id).toEqual([z.dtype, z.shape]);
    const differ = toNumbers(y).findIndex((v, i) => !(v === Number(z.data[i]) || (Number.isNaN(v) && Number.isNaN(Number(z.data[i])))));
    expect(differ, `%${id}[${differ}] = ${y.data[differ]}, not ${z.data[differ]}`).toBe(-1);
  }
}

describe('random float networks', () => {
  it.each(seeds(150))('equal their evaluation bit for bit (%i)', (seed) => {
    const sampler = new Sampler(seed, normal);
    const g = sampler.build(3 + sampler.rng.int(10));
    verifyGraph(g, opTable);
    const inputs = inputsOf(g, (shape) => normal(shape, sampler.rng));
    expectSame(lowered(g, inputs), evaluateGraph(g, inputs), g.outputs);
  });
});

describe('random quantised networks', () => {
  it.each(seeds(200))('equal fake quantisation bit for bit where all arithmetic is exact (%i)', (seed) => {
    const sampler = new Sampler(1000 + seed, eighths);
    const g = quantizeAtRandom(sampler.build(3 + sampler.rng.int(9)), sampler.rng, [0, 0, 0.3, 0.6][seed % 4], true);
    verifyGraph(g, opTable);
    const inputs = inputsOf(g, (shape) => eighths(shape, sampler.rng));
    expectSame(lowered(g, inputs), evaluateFakeQuantized(g, inputs), g.outputs);
  });
});

/** Logical row-major contents of every buffer that a run writes, by buffer name; codes as the values they stand for. */
function written(g: Graph, inputs: ReadonlyMap<ValueId, Tensor>): Map<string, number[]> {
  const program = lowerGraph(g);
  const found = new Map<string, number[]>();
  runProgram(program, inputs, (_, call, results) => call.results.forEach((id, r) => {
    const { name, shape, strides, quant } = program.buffers[id];
    const at = shape.reduce<number[]>((all, n, a) => all.flatMap((p) => Array.from({ length: n }, (__, i) => p + i * strides[a])), [0]);
    found.set(name, at.map((p) => (quant ? dequantizeValue(Number(results[r][p]), quant.scale[0], quant.zeroPoint[0]) : Number(results[r][p]))));
  }));
  return found;
}

describe('quantised networks with any scales', () => {
  /** Of float results, relative to the largest: codes times scales summed in integers, against sums of f32 products. */
  const FLOAT_TOLERANCE = 1e-5;

  it.each(seeds(80))('every value is within one code of fake quantisation of what it is computed from (%i)', (seed) => {
    const sampler = new Sampler(3000 + seed, normal);
    const g = quantizeAtRandom(sampler.build(3 + sampler.rng.int(9)), sampler.rng, seed % 3 === 0 ? 0.3 : 0, false);
    const inputs = inputsOf(g, (shape) => normal(shape, sampler.rng));
    const actual = written(g, inputs);
    let [codes, off] = [0, 0];
    evaluateFakeQuantized(g, inputs, (id, t) => {
      const [found, p] = [actual.get(id), valueOf(g, id).precision];
      if (!found || t.dtype !== 'f32') return t;
      const size = Math.max(1, ...toNumbers(t).map(Math.abs));
      found.forEach((v, i) => {
        const error = Math.abs(v - Number(t.data[i]));
        if (p.state !== 'calibrated') expect(error / size, `%${id}[${i}]`).toBeLessThan(FLOAT_TOLERANCE);
        else {
          const steps = error / p.params.scale[0];
          expect(steps, `%${id}[${i}]`).toBeLessThan(1.001);
          codes++;
          if (steps > 0.5) off++;
        }
      });
      return tensorOf('f32', t.shape, found);
    });
    // Only where a value lies within rounding of the middle between two codes.
    expect(off).toBeLessThanOrEqual(1 + codes / 100);
  });
});

const activation = (bits: Bits, scale: number, zero: number): QuantParams =>
  ({ scheme: activationScheme(bits), scale: Float32Array.of(scale), zeroPoint: Int32Array.of(zero) });
const weights = (bits: Bits, outs: number, scale: number): QuantParams =>
  ({ scheme: weightScheme(bits), scale: new Float32Array(outs).fill(scale), zeroPoint: new Int32Array(outs) });
const calibrated = (g: Graph, params: readonly (readonly [ValueId, QuantParams])[]): Graph =>
  withPrecision(g, 'calibrated', new Map(params.map(([id, p]) => [id, { state: 'calibrated', params: p }])));
const families = (p: Program): string[] => p.calls.map((c) => (c.family === 'conv' ? `${c.params.kind} conv to ${c.params.output}` : 'nest'));
const window3 = { strides: [1, 1], dilations: [1, 1], pads: [1, 1, 1, 1], group: 1 };

/** conv, pool, flatten, linear: the shape of most classifiers. */
function classifier(): { g: Graph; x: ValueId; w: ValueId; y: ValueId; pooled: ValueId; flat: ValueId; v: ValueId; z: ValueId } {
  const rng = new Rng(4);
  const b = createBuilder('classifier');
  const x = b.input('x', { dtype: 'f32', shape: [1, 3, 4, 4] });
  b.origin = 'conv1';
  const w = b.const(eighths([5, 3, 3, 3], rng));
  const y = b.add('conv', [x, w, b.const(eighths([5], rng))], { ...window3, activation: { min: 0, max: Infinity } });
  const pooled = b.add('max_pool', [y], { kernel: [4, 4], strides: [1, 1], pads: [0, 0, 0, 0], dilations: [1, 1], ceilExtra: [0, 0] });
  const flat = b.add('reshape', [pooled], { shape: [1, 5] });
  const v = b.const(eighths([7, 5], rng));
  b.origin = 'fc';
  const z = b.add('linear', [flat, v]);
  const g = b.build([z]);
  return { g: { ...g, values: new Map([...g.values].map(([id, u]) => [id, { ...u, name: id }])) }, x, w, y, pooled, flat, v, z };
}

describe('what lowering makes', () => {
  it('codes from the first layer to the last, none of them moved by a reshape', () => {
    const { g, x, w, y, pooled, flat, v } = classifier();
    const q = activation(8, 1 / 8, 0);
    const program = lowerGraph(calibrated(g, [[x, activation(8, 1 / 16, 128)], [w, weights(4, 5, 1 / 4)], [y, q], [pooled, q], [flat, q],
      [v, weights(2, 7, 1 / 2)]]));
    expect(families(program)).toEqual(['nest', 'int conv to codes', 'nest', 'int conv to f32']);
    expect(program.calls.map((c) => c.origin)).toEqual(['input x', 'conv1', 'conv1', 'fc']);
    expect(program.buffers.filter((b) => b.data === null).map((b) => `${b.name} ${b.dtype}`)).toEqual([`${x} f32`, `${x} u8`, `${y} u8`,
      `${pooled} u8`, `${g.outputs[0]} f32`]);
  });

  it('weights alone, or activations alone, compute in float', () => {
    const { g, x, w, y, v } = classifier();
    expect(families(lowerGraph(calibrated(g, [[w, weights(4, 5, 1 / 4)], [v, weights(2, 7, 1 / 2)]])))).toEqual(['nest', 'f32 conv to f32',
      'nest', 'f32 conv to f32']);
    expect(families(lowerGraph(calibrated(g, [[x, activation(8, 1 / 16, 128)]])))).toEqual(['nest', 'nest', 'f32 conv to f32', 'nest',
      'f32 conv to f32']);
    // Codes that a float convolution would have to write come from a nest.
    expect(families(lowerGraph(calibrated(g, [[y, activation(8, 1 / 8, 0)]])))).toEqual(['nest', 'nest', 'nest', 'f32 conv to f32']);
  });

  it('codes that many sums read are decoded once, and codes of sums made by rows are made after them', () => {
    const b = createBuilder('product');
    const [x, w] = [b.input('x', { dtype: 'f32', shape: [3, 8] }), b.input('w', { dtype: 'f32', shape: [8, 5] })];
    const y = b.add('matmul', [b.add('relu', [x]), w]);
    const g = b.build([b.add('relu', [y])]);
    const [r, q] = [g.nodes.find((n) => n.op === 'relu')!.outputs[0], activation(8, 1 / 16, 8)];
    const program = lowerGraph(calibrated(g, [[r, q], [w, q], [y, q]]));
    const made = program.calls.flatMap((c) => c.results.map((id) => program.buffers[id])).map((o) => `${o.name.replace(/^.*\./, '')} ${o.dtype}`);
    const name = (id: ValueId): string => valueOf(g, id).name;
    // Of w every element is read three times, of the other operand five times.
    expect(made).toEqual([`${name(w)} u8`, `${name(r)} u8`, 'converted f32', 'partial f32', `${name(y)} u8`, `${name(g.outputs[0])} f32`]);
  });

  it('a bias that is no constant makes the layer a float one', () => {
    const b = createBuilder('bias');
    const [x, bias] = [b.input('x', { dtype: 'f32', shape: [2, 4] }), b.input('bias', { dtype: 'f32', shape: [3] })];
    const w = b.const(eighths([3, 4], new Rng(1)));
    const g = calibrated(b.build([b.add('linear', [x, w, bias])]), [[x, activation(8, 1 / 8, 100)], [w, weights(4, 3, 1 / 2)]]);
    const inputs = new Map([[x, eighths([2, 4], new Rng(2))], [bias, eighths([3], new Rng(3))]]);
    expect(families(lowerGraph(g))).toEqual(['nest', 'nest', 'f32 conv to f32']);
    expectSame(lowered(g, inputs), evaluateFakeQuantized(g, inputs), g.outputs);
  });

  it('a constant where a convolution reads its input', () => {
    const b = createBuilder('constant');
    const x = b.input('x', { dtype: 'f32', shape: [2, 3, 3, 3] });
    const image = b.const(eighths([1, 3, 4, 4], new Rng(1)));
    const g = b.build([b.add('conv', [image, x], { ...window3 }),
      b.add('conv', [image, b.const(eighths([2, 3, 3, 3], new Rng(2)))], { ...window3 }, { names: ['y2'] })]);
    const inputs = new Map([[x, eighths([2, 3, 3, 3], new Rng(3))]]);
    expectSame(lowered(g, inputs), evaluateGraph(g, inputs), g.outputs);
  });

  it('accumulators are exact where the output is float: sums beyond 2^24 differ from f32 sums', () => {
    const b = createBuilder('sum');
    const k = 1200;
    const x = b.input('x', { dtype: 'f32', shape: [1, k] });
    const w = b.const(tensorOf('f32', [1, k], Array.from({ length: k }, (_, i) => 127 - (i % 3))));
    const g = calibrated(b.build([b.add('linear', [x, w])]), [[x, activation(8, 1, 0)], [w, weights(8, 1, 1)]]);
    const values = Array.from({ length: k }, (_, i) => 255 - (i % 2));
    const exact = values.reduce((s, v, i) => s + v * (127 - (i % 3)), 0);
    expect(exact).toBeGreaterThan(2 ** 24);
    expect(toNumbers([...lowered(g, new Map([[x, tensorOf('f32', [1, k], values)]])).values()][0])).toEqual([Math.fround(exact)]);
  });

  it('layers with the same weights share them, under names of their own', () => {
    const b = createBuilder('shared');
    const x = b.input('x', { dtype: 'f32', shape: [2, 4] });
    const w = b.const(eighths([4, 4], new Rng(1)));
    b.origin = 'loop';
    const y = b.add('linear', [b.add('linear', [b.add('linear', [x, w]), w]), w]);
    const program = lowerGraph(b.build([y]));
    expect(program.calls.map((c) => c.origin)).toEqual(['loop', 'loop#2', 'loop#3']);
    expect(new Set(program.calls.map((c) => c.args[1])).size).toBe(1);
  });

  it('inputs and constants as outputs, a value in two outputs, an unused input', () => {
    const b = createBuilder('ports');
    const [x] = [b.input('x', { dtype: 'f32', shape: [1, 2, 2, 2] }), b.input('unused', { dtype: 'i64', shape: [2] })];
    const c = b.const(tensorOf('i64', [2], [5, -6]), 'c');
    const w = b.const(tensorOf('f32', [2, 2], [1, 2, 3, 4]), 'w');
    const y = b.add('relu', [x]);
    const again = b.add('identity', [y]);
    const flat = b.add('reshape', [y], { shape: [8] });
    const p = activation(4, 1, 8);
    const g = calibrated(b.build([x, c, w, y, again, flat]), [[x, p], [w, weights(2, 2, 1)]]);
    const inputs = new Map([[x, tensorOf('f32', [1, 2, 2, 2], [1.4, -2, 3, 99, -1, 0, 7, 8])], ['unused', tensorOf('i64', [2], [0, 0])]]);
    const found = lowered(g, inputs);
    expectSame(found, evaluateFakeQuantized(g, inputs), g.outputs);
    expect(toNumbers(found.get(x)!)).toEqual([1, -2, 3, 7, -1, 0, 7, 7]);
    expect(toNumbers(found.get(w)!)).toEqual([1, 1, 1, 1]);
  });

  it('what could overflow 32 bits is refused (E602)', () => {
    const b = createBuilder('overflow');
    const x = b.input('x', { dtype: 'f32', shape: [1, 70_000] });
    const w = b.const(tensorOf('f32', [1, 70_000], new Float32Array(70_000)));
    b.origin = 'huge';
    const g = calibrated(b.build([b.add('linear', [x, w])]), [[x, activation(8, 1, 0)], [w, weights(8, 1, 1)]]);
    expect(() => lowerGraph(g)).toThrowError(expect.objectContaining({ code: 'E602' }));
  });
});

describe('pointwiseClusters', () => {
  it('joins a chain into its last node, but not across other readers, shapes, outputs or codes', () => {
    const b = createBuilder('clusters');
    const x = b.input('x', { dtype: 'f32', shape: [2, 3] });
    const row = b.input('row', { dtype: 'f32', shape: [3] });
    const scaled = compose.mul(b, row, row);
    const a = b.add('exp', [x]);
    const c = compose.add(b, a, scaled);
    const twice = b.add('neg', [c]);
    const one = b.add('relu', [twice]);
    const two = b.add('abs', [twice]);
    const shown = b.add('sin', [one]);
    const end = compose.mul(b, b.add('cos', [shown]), two);
    const g = b.build([end, shown]);
    const members = (h: Graph): string[][] => [...pointwiseClusters(h).values()].map((k) => k.members.map((m) => m.outputs[0]).sort()).sort();
    const expected = [[scaled], [a, c, twice], [one, shown], [two, g.nodes.find((n) => n.op === 'cos')!.outputs[0], end]].map((m) => m.sort()).sort();
    expect(members(g)).toEqual(expected);
    const cut = calibrated(g, [[a, activation(8, 1, 0)]]);
    expect(members(cut)).toEqual([[a], ...expected.map((m) => m.filter((id) => id !== a))].sort());
  });

  it('every elementwise node is in one cluster, and leaves are what members read from outside', () => {
    for (const seed of seeds(60)) {
      const sampler = new Sampler(seed, normal);
      const g = sampler.build(14);
      const clusters = [...pointwiseClusters(g).values()];
      expect(clusters.flatMap((k) => k.members.map((m) => m.outputs[0])).sort()).toEqual(g.nodes.filter(isPointwise).map((n) => n.outputs[0]).sort());
      for (const k of clusters) {
        const made = new Set(k.members.map((m) => m.outputs[0]));
        expect([...k.leaves].sort()).toEqual([...new Set(k.members.flatMap((m) => m.inputs))].filter((i) => !made.has(i)).sort());
        expect(k.members[0]).toBe(k.root);
      }
    }
  });
});
