/** From a model to a program: bits, budgets, numbers. */
import type { BitloomError, Diagnostic } from '@bitloom/diagnostics';
import type { Graph } from '@bitloom/ir';
import { type Program, type TensorMap, runProgram } from '@bitloom/kernel-spec';
import { exportOnnx } from '@bitloom/onnx';
import { createBuilder, evaluateGraph } from '@bitloom/ops';
import { type Tensor, Rng, tensor, tensorOf, toNumbers } from '@bitloom/tensor';
import { layersOf, quantizable } from '@bitloom/transforms';
import onnxProto from 'onnx-proto';
import { writeFileSync } from 'node:fs';
import { afterAll, describe, expect, it } from 'vitest';
import { addConv, addLinear, options, random, tinyData, tinyNet, workplace } from './networks.test.util.js';
import { compile, compileToText, inspect, search } from './index.js';
import { loadModel, statisticsGraph } from './model.js';
import { compileToProgram } from './pipeline.js';

const temp = workplace();
afterAll(temp.dispose);
const MODEL = temp.model('tiny', tinyNet());
const DATA = temp.data('data', tinyData(64));
const samples = (n: number, seed = 5): TensorMap[] => {
  const rng = new Rng(seed);
  return Array.from({ length: n }, () => new Map([['x', random(rng, [1, 3, 9, 9])]]));
};
const coded = (code: string): unknown => expect.objectContaining({ code });

/** ‖program − float‖ / ‖float‖ over samples. */
function relativeError(program: Program, g: Graph, inputs: readonly TensorMap[]): number {
  let [error, norm] = [0, 0];
  for (const i of inputs) {
    const expected = toNumbers(evaluateGraph(g, i).get(g.outputs[0])!);
    const got = toNumbers([...runProgram(program, i).values()][0]);
    expected.forEach((v, k) => {
      error += (got[k] - v) ** 2;
      norm += v ** 2;
    });
  }
  return Math.sqrt(error / norm);
}

describe('uniform precision', () => {
  /** Named bounds of the relative error of the logits; noise halves with every bit. */
  const BOUNDS = { f32: 1e-5, w8a8: 0.06, w4a8: 0.2, w1a1: 1.5 };
  it.each(Object.entries(BOUNDS))('%s computes what the float network does, within %d', async (precision, bound) => {
    const { program, graph, model } = await compileToProgram(MODEL, options({ precision, calib: DATA, freeEnds: true }));
    expect(relativeError(program!, model.graph, samples(8))).toBeLessThan(bound);
    const kinds = program!.calls.flatMap((c) => (c.family === 'conv' ? [[c.params.kind, c.params.weightBits, c.params.activationBits]] : []));
    const [, w, a] = /^w(\d)a(\d)$/.exec(precision) ?? [];
    expect(kinds).toEqual(Array(5).fill(precision === 'f32' ? ['f32', null, null] : ['int', Number(w), Number(a)]));
    expect(graph.phase).toBe(precision === 'f32' ? 'float' : 'calibrated');
  });

  it('keeps the ends at 8 bits unless told otherwise, and pins over both', async () => {
    const names = layersOf((await loadModel(MODEL)).graph).map((l) => l.name);
    const bitsOf = async (o: object): Promise<number[][]> => (await compile(MODEL, { precision: 'w2a4', calib: DATA, samples: 8, ...o })).layers.map((l) => [l.weightBits, l.activationBits]);
    const free = await bitsOf({ freeEnds: true });
    expect(free).toEqual(Array(5).fill([2, 4]));
    const ends = await bitsOf({});
    expect([ends[0], ends[4]]).toEqual([[8, 8], [8, 8]]);
    expect(ends.slice(1, 4).map(([w]) => w)).toEqual([2, 2, 2]);
    const pinned = await bitsOf({ freeEnds: true, pin: [`${names[1]}=w5a6`] });
    expect(pinned[1]).toEqual([5, 6]);
    await expect(bitsOf({ pin: ['nothing=w4'] })).rejects.toThrow(coded('E502'));
  });

  it('says what it does not know without data', async () => {
    const warnings: string[] = [];
    const report = await compile(MODEL, { precision: 'w8a8' }, { warn: (w) => void warnings.push(w) });
    expect(warnings).toEqual(report.warnings);
    expect(warnings.join()).toContain('accuracy is unknown');
    expect(report.calibration).toMatchObject({ samples: 64 });
  });

  it('is deterministic', async () => {
    const run = async (): Promise<unknown> => {
      const { program } = await compileToProgram(MODEL, options({ calib: DATA, budget: 'bits=4', freeEnds: true }));
      return JSON.stringify(program, (_, v) => (ArrayBuffer.isView(v) ? [...(v as Uint8Array)] : v));
    };
    expect(await run()).toBe(await run());
  });
});

describe('mckp meets its budget', () => {
  const config = { calib: DATA, samples: 16, freeEnds: true, weights: [2, 3, 4, 8], activations: [4, 8] } as const;
  it.each(['bits=2.5', 'size=15%', 'size=200B', 'bops=30%'])('%s', async (budget) => {
    const r = await compile(MODEL, { ...config, budget } as never);
    expect(r.search.strategy).toBe('mckp');
    expect(r.budget!.used).toBeLessThanOrEqual(r.budget!.limit);
    expect(r.search.lowerBound!).toBeLessThanOrEqual(r.search.objective! * (1 + 1e-9));
    expect(r.search.gap!).toBeGreaterThanOrEqual(0);
    for (const l of r.layers) {
      expect(config.weights).toContain(l.weightBits);
      expect(config.activations).toContain(l.activationBits);
    }
    // Used as reported is used as computed from the layers.
    const total = r.layers.reduce((s, l) => s + (budget.startsWith('bops') ? l.macs * l.weightBits * l.activationBits : l.params * l.weightBits), 0);
    if (!budget.startsWith('size')) expect(r.budget!.used).toBe(total);
    else expect(r.budget!.used).toBeGreaterThanOrEqual(total / 8);
  });

  it('a larger budget never predicts a larger loss, and gives a smaller error at the extremes', async () => {
    const found: { objective: number; error: number }[] = [];
    for (const budget of ['bits=2', 'bits=4', 'bits=8']) {
      const { search: s, program, model } = await compileToProgram(MODEL, options({ ...config, activations: [8], budget } as never));
      found.push({ objective: s!.objective!, error: relativeError(program!, model.graph, samples(8)) });
    }
    found.slice(1).forEach((f, i) => expect(f.objective).toBeLessThanOrEqual(found[i].objective * (1 + 1e-9)));
    expect(found[2].error).toBeLessThan(found[0].error / 4);
  });

  it('an infeasible budget names the smallest feasible one, and that one is', async () => {
    const failed = await compile(MODEL, { ...config, budget: 'size=10B' } as never).catch((e: BitloomError) => e.diagnostic);
    expect(failed).toMatchObject({ code: 'E501', found: 'size=10B' });
    const [smallest] = /size=.*/.exec((failed as Diagnostic).expected!)!;
    const r = await compile(MODEL, { ...config, budget: smallest } as never);
    expect(r.layers.map((l) => l.weightBits)).toEqual(Array(5).fill(2));
  });

  it('search writes an assignment that compile follows, and a Pareto front that falls', async () => {
    const file = temp.path('assignment.json');
    const s = await search(MODEL, { ...config, budget: 'bits=3', output: file } as never);
    const { weights: _, activations: __, ...rest } = config;
    const r = await compile(MODEL, { ...rest, assignment: file });
    expect(r.layers.map((l) => [l.weightBits, l.activationBits])).toEqual(s.layers.map((l) => [l.weightBits, l.activationBits]));
    expect(s.pareto.length).toBeGreaterThan(2);
    s.pareto.slice(1).forEach((p, i) => {
      expect(p.cost).toBeGreaterThan(s.pareto[i].cost);
      expect(p.loss).toBeLessThan(s.pareto[i].loss);
    });
  });
});

describe('phases', () => {
  it.each(['float', 'candidates', 'chosen', 'calibrated'] as const)('stops after %s, with text that says so', async (phase) => {
    const passes: string[] = [];
    const { ir, phase: reached } = await compileToText(MODEL, { precision: 'w4a8', calib: DATA, samples: 4 }, phase, { afterPass: (p) => void passes.push(p) });
    expect(reached).toBe(phase);
    expect(ir.includes('calibrated ')).toBe(phase === 'calibrated');
    expect(passes.at(-1)).toBe(phase === 'float' ? 'streams' : phase);
  });
});

describe('statisticsGraph', () => {
  const model = (name: string, build: (b: ReturnType<typeof createBuilder>, x: string) => string): string => {
    const b = createBuilder(name);
    return temp.model(name, b.build([build(b, b.input('x', { dtype: 'f32', shape: [1, 4, 4] }))]));
  };
  const batchOf = async (file: string): Promise<number[]> => {
    const m = await loadModel(file);
    const g = await statisticsGraph(m);
    return [...g.inputs, ...g.outputs].map((id) => g.values.get(id)!.type.shape[0]);
  };
  const rng = new Rng(1);
  it('widens the batch where shapes allow it', async () => {
    expect(await batchOf(MODEL)).toEqual([32, 32]);
    // A reshape of one sample to one row is understood.
    expect(await batchOf(model('flatten', (b, x) => addLinear(b, rng, b.add('reshape', [x], { shape: [1, 16] }), 16, 3)))).toEqual([32, 32]);
  });
  it('falls back to the batch of the model where it is part of what is computed', async () => {
    // Rows of the input mixed with the batch.
    expect(await batchOf(model('mixed', (b, x) => addLinear(b, rng, b.add('reshape', [x], { shape: [4, 4] }), 4, 3)))).toEqual([1, 4]);
    // A constant as large as one sample decides the shape.
    const w = random(rng, [4, 1, 3]);
    expect(await batchOf(model('turned', (b, x) => b.add('matmul', [b.add('transpose', [x], { perm: [1, 0, 2] }), b.const(tensor('f32', [4, 4, 3], new Float32Array(48).fill(Number(w.data[0]))), 'w')], {})))).toEqual([1, 4]);
    expect(await batchOf(model('whole', (b, x) => b.add('reduce_sum', [x], { axes: [0, 1, 2], keepdims: false })))).toEqual([1, undefined]);
  });
  it('compiles those models all the same', async () => {
    const report = await compile(temp.path('mixed.onnx'), { precision: 'w8a8', target: ['wasm'] });
    expect(report.layers).toHaveLength(1);
  });
});

describe('models with QuantizeLinear and DequantizeLinear', () => {
  const { onnx } = onnxProto;
  const proto = (name: string, t: Tensor, dataType: number): object => ({ name, dataType, dims: t.shape, rawData: new Uint8Array(t.data.buffer) });
  const f32 = (name: string, shape: readonly number[], values: readonly number[]): object => proto(name, tensorOf('f32', shape, values), 1);
  const value = (name: string, dims: readonly number[]): object => ({ name, type: { tensorType: { elemType: 1, shape: { dim: dims.map((dimValue) => ({ dimValue })) } } } });

  it('keep the scales that they state', async () => {
    const rng = new Rng(4);
    const codes = Int8Array.from({ length: 4 * 8 }, () => rng.int(255) - 127);
    const scales = [0.01, 0.02, 0.005, 0.04];
    const node = (opType: string, input: string[], output: string, attribute: object[] = []): object => ({ opType, name: `n_${output}`, input, output: [output], attribute });
    const axis = [{ name: 'axis', type: 2, i: 0 }];
    const bytes = onnx.ModelProto.encode(onnx.ModelProto.create({
      irVersion: 8, opsetImport: [{ domain: '', version: 17 }],
      graph: {
        name: 'qdq', input: [value('x', [1, 8])], output: [value('y', [1, 4])],
        node: [
          node('QuantizeLinear', ['x', 'sx', 'zx'], 'xq'), node('DequantizeLinear', ['xq', 'sx', 'zx'], 'xd'),
          node('DequantizeLinear', ['wq', 'sw', 'zw'], 'w', axis), node('Gemm', ['xd', 'w', 'b'], 'y', [{ name: 'transB', type: 2, i: 1 }]),
        ],
        initializer: [
          f32('sx', [], [0.03125]), proto('zx', tensorOf('u8', [], [77]), 2), proto('wq', tensor('i8', [4, 8], codes), 3),
          f32('sw', [4], scales), proto('zw', tensorOf('i8', [4], [0, 0, 0, 0]), 3), f32('b', [4], [1, -1, 0.5, 0]),
        ],
      },
    } as never)).finish();
    writeFileSync(temp.path('qdq.onnx'), bytes);

    const { program, graph } = await compileToProgram(temp.path('qdq.onnx'), options({ precision: 'w8a8', biasCorrection: false }));
    const [call] = program!.calls.filter((c) => c.family === 'conv');
    expect(call.params).toMatchObject({ kind: 'int', weightBits: 8, activationBits: 8, xZero: 77, output: 'f32' });
    const [quant] = program!.buffers.flatMap((b) => (b.quant ? [b.quant] : []));
    expect([quant.scale[0], quant.zeroPoint[0]]).toEqual([0.03125, 77]);
    expect(program!.buffers[call.args[1]].data).toEqual(codes);
    expect([...(program!.buffers[call.args[2]].data as Float32Array)]).toEqual(scales.map((s) => Math.fround(0.03125 * Math.fround(s))));
    expect(quantizable(graph).layers).toHaveLength(1);

    // The quantised network is the model: equal to the definition in exact arithmetic, up to the rounding of the epilogue.
    const x = Float32Array.from({ length: 8 }, () => Math.fround(2 * rng.normal()));
    const u = [...x].map((v) => Math.min(255, Math.max(0, Math.round(Math.fround(v / 0.03125)) + 77)) - 77);
    const y = [...(runProgram(program!, new Map([['x', tensor('f32', [1, 8], x)]])).get('y')!.data as Float32Array)];
    scales.forEach((s, o) => {
      const acc = u.reduce((sum, v, i) => sum + v * codes[o * 8 + i], 0);
      expect(y[o]).toBeCloseTo(acc * 0.03125 * s + [1, -1, 0.5, 0][o], 4);
    });
  });
});

describe('networks with nothing to quantise', () => {
  it('a network without any compiles at every precision', async () => {
    const b = createBuilder('plain');
    const x = b.input('x', { dtype: 'f32', shape: [1, 5] });
    const file = temp.model('plain', b.build([b.add('tanh', [x], {}, { names: ['y'] })]));
    for (const precision of ['f32', 'w8a8']) expect((await compile(file, { precision, target: ['wasm', 'c'] })).layers).toEqual([]);
    expect(await inspect(file)).toMatchObject({ kind: 'model', layers: [], macs: 0 });
  });
  it('a convolution with computed weights stays float', async () => {
    const rng = new Rng(9);
    const b = createBuilder('computed');
    const x = b.input('x', { dtype: 'f32', shape: [1, 4, 6, 6] });
    const k = b.input('k', { dtype: 'f32', shape: [2, 4, 3, 3] });
    const attrs = { strides: [1, 1], dilations: [1, 1], pads: [0, 0, 0, 0], group: 1, activation: null };
    const y = b.add('conv', [addConv(b, rng, x, { channels: 4, outputs: 4, size: 1, pads: [0, 0, 0, 0] }), k], attrs, { names: ['y'] });
    const bytes = exportOnnx(b.build([y]));
    writeFileSync(temp.path('computed.onnx'), bytes);
    const { program, model } = await compileToProgram(temp.path('computed.onnx'), options({ precision: 'w8a8' }));
    const inputs = new Map([['x', random(rng, [1, 4, 6, 6])], ['k', random(rng, [2, 4, 3, 3])]]);
    expect(relativeError(program!, model.graph, [inputs])).toBeLessThan(0.05);
    expect(program!.calls.filter((c) => c.family === 'conv')).toHaveLength(1);
  });
});
