/** Fine-tuned models: what is written, what compile makes of it, and runs that are ended. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { exportModel } from '@bitloom/onnx';
import { evaluateGraph } from '@bitloom/ops';
import { type Graph, constantData, producers, valueOf } from '@bitloom/ir';
import { type QuantParams, quantize } from '@bitloom/numerics';
import { Rng, tensor, tensorOf, toNumbers } from '@bitloom/tensor';
import { layersOf, quantizable } from '@bitloom/transforms';
import { afterAll, describe, expect, it } from 'vitest';
import { compile, search } from './api.js';
import type { FinetuneConfig } from './config.js';
import { evaluate } from './evaluate.js';
import { finetune } from './finetune.js';
import { loadModel } from './model.js';
import { options, random, tinyNet, workplace } from './networks.test.util.js';
import { compileToProgram } from './pipeline.js';
import { readTuned } from './tuned.js';

const temp = workplace();
afterAll(temp.dispose);
const net = tinyNet();
const MODEL = temp.model('tiny', net);
const SAMPLES = 96;
const x = random(new Rng(5), [SAMPLES, 3, 9, 9]);
const labels = Array.from({ length: SAMPLES }, (_, i) => {
  const y = toNumbers(evaluateGraph(net, new Map([[net.inputs[0], tensor('f32', [1, 3, 9, 9], (x.data as Float32Array).slice(i * 243, (i + 1) * 243))]])).get(net.outputs[0])!);
  return y.indexOf(Math.max(...y));
});
const DATA = temp.data('train', { x, labels: tensorOf('i64', [SAMPLES], labels) });
const BARE = temp.data('bare', { x });
const base: FinetuneConfig = { data: DATA, epochs: 3, batch: 16, rate: 0.02, samples: 64 };

/** Weights of the layers of a calibrated graph, with their parameters. */
const weightsOf = (g: Graph): { name: string; w: number[]; params: QuantParams }[] => layersOf(g).map((l) => {
  const p = valueOf(g, l.weight).precision;
  if (p.state !== 'calibrated') throw new Error('not calibrated');
  return { name: l.name, w: toNumbers(constantData(producers(g), l.weight)!), params: p.params };
});

describe('finetune', () => {
  const plain = temp.path('w3a3.onnx');
  const made = finetune(MODEL, { ...base, precision: 'w3a3', eval: DATA, output: plain });

  it('writes a model that compiles at its bits, without data, to what was evaluated', async () => {
    const report = await made;
    expect(report).toMatchObject({ model: plain, steps: 6 });
    expect(report.epochs).toHaveLength(3);
    expect(existsSync(`${plain}.checkpoint`)).toBe(false);
    const { graph, choice, observed } = await compileToProgram(plain, options({}));
    expect(observed).toBeNull();
    expect([...choice!.weights.values()]).toEqual([8, 3, 3, 3, 8]);
    const bundle = temp.path('bundle');
    const compiled = await compile(plain, { output: bundle });
    expect(compiled.layers.map((l) => [l.weightBits, l.activationBits])).toEqual([[8, 8], [3, 3], [3, 3], [3, 3], [8, 8]]);
    expect(compiled.calibration).toBeNull();
    // What is shipped of times may have it that three bits of so small a network are slower.
    expect(compiled.warnings.filter((w) => !w.includes('as long as at 8 bits'))).toEqual([]);
    const { top1 } = await evaluate(bundle, { data: DATA, preprocessing: null, define: {}, samples: null, seed: 0, target: null, labelOffset: 0, agree: null });
    // Streams have 8 bits in the bundle and were float before.
    expect(Math.abs(top1! / 100 - report.epochs[2].evaluated!)).toBeLessThanOrEqual(2.01 / SAMPLES);
    // Every weight lies on the grid that the file states.
    for (const { w, params } of weightsOf(graph)) {
      w.forEach((v, i) => {
        const code = v / params.scale[Math.floor(i / (w.length / params.scale.length))];
        expect(Math.abs(code - Math.round(code))).toBeLessThan(1e-4);
      });
    }
  });

  it.each(['adaround', 'nearest'] as const)('begins with the codes that compile gives: %s', async (rounding) => {
    const codes = async (model: string, config: Parameters<typeof options>[0]): Promise<Map<string, number[]>> => {
      const { graph } = await compileToProgram(model, options(config));
      return new Map(weightsOf(graph).map(({ name, w, params }) => [name, [...quantize(w, [params.scale.length, w.length / params.scale.length], params)]]));
    };
    const output = temp.path(`${rounding}.onnx`);
    await finetune(MODEL, { ...base, epochs: 1, rate: 1e-9, precision: 'w2a8', rounding, output });
    const tuned = await codes(output, {});
    const compiled = await codes(MODEL, { precision: 'w2a8', calib: DATA, samples: 64, rounding });
    expect(tuned).toEqual(compiled);
    const other = await codes(MODEL, { precision: 'w2a8', calib: DATA, samples: 64, rounding: rounding === 'nearest' ? 'adaround' : 'nearest' });
    expect(tuned).not.toEqual(other);
  });

  it('takes an assignment; the same run gives the same bytes, ended and begun again', async () => {
    const assignment = temp.path('bits.json');
    await search(MODEL, { calib: DATA, budget: 'bits=5', output: assignment, activations: [4, 8] });
    const run = async (name: string, progress: () => void): Promise<Buffer> => {
      await finetune(MODEL, { ...base, assignment, output: temp.path(name) }, { progress });
      return readFileSync(temp.path(name));
    };
    const whole = await run('whole.onnx', () => {});
    let ends = 0;
    const rng = new Rng(2);
    for (;;) {
      let left = 3 + rng.int(12);
      const bytes = await run('ended.onnx', () => {
        if (--left === 0 && ends < 4) throw new Error('ended');
      }).catch((e: Error) => e.message);
      if (typeof bytes !== 'string') {
        expect(bytes.equals(whole)).toBe(true);
        break;
      }
      ends++;
    }
    expect(ends).toBeGreaterThan(1);
    const model = await loadModel(temp.path('whole.onnx'));
    const bits = JSON.parse(readFileSync(assignment, 'utf8')) as { layers: Record<string, { weights: number }> };
    expect([...readTuned(model)!.choice.weights.values()]).toEqual(Object.values(bits.layers).map((l) => l.weights));
  });

  it('gives way to bits that are asked for', async () => {
    await made;
    const warnings: string[] = [];
    const { choice } = await compileToProgram(plain, options({ calib: DATA, precision: 'w4a8' }), { warn: (w) => warnings.push(w) });
    expect(warnings).toEqual([expect.stringContaining('fine-tuned at bits of its own')]);
    expect([...choice!.weights.values()]).toEqual([8, 4, 4, 4, 8]);
  });

  it.each<[string, Partial<FinetuneConfig>, string]>([
    ['no bits', {}, 'E103'], ['two kinds of bits', { precision: 'w2a2', assignment: 'a.json' }, 'E103'], ['float', { precision: 'f32' }, 'E103'],
    ['no labels', { precision: 'w4a4', data: BARE }, 'E304'], ['no labels to evaluate by', { precision: 'w4a4', eval: BARE }, 'E304'], ['less than a batch', { precision: 'w4a4', batch: 97 }, 'E303'],
    ['a missing assignment', { assignment: '/nowhere.json' }, 'E704'], ['a bad rate', { precision: 'w4a4', rate: -1 }, 'E101'],
    ['a rate that diverges', { precision: 'w4a4', rate: 1e30 }, 'E404'],
  ])('refuses %s', async (_, o, code) => {
    await expect(finetune(MODEL, { ...base, ...o })).rejects.toMatchObject({ code });
  });

  it('refuses another run\'s checkpoint (E706) and leaves it', async () => {
    const file = temp.path('kept.checkpoint');
    await expect(finetune(MODEL, { ...base, precision: 'w2a2', checkpoint: file }, { progress: (s) => { if (s.startsWith('training')) throw new Error('ended'); } })).rejects.toThrow('ended');
    writeFileSync(file, 'x');
    await expect(finetune(MODEL, { ...base, precision: 'w2a2', checkpoint: file })).rejects.toMatchObject({ code: 'E706' });
    expect(readFileSync(file, 'utf8')).toBe('x');
  });
});

describe('models that state their quantisation', () => {
  const written = async (change: (q: { layers: Record<string, unknown>; activations: Record<string, unknown> }) => unknown): Promise<string> => {
    const { graph } = await loadModel(MODEL);
    const sites = quantizable(graph);
    const q = {
      version: 1,
      layers: Object.fromEntries(sites.layers.map((l) => [l.name, { bits: 4, scale: new Array(valueOf(graph, l.weight).type.shape[0]).fill(0.1) }])),
      activations: Object.fromEntries(sites.groups.map((a) => [valueOf(graph, a.id).name, { bits: 8, scale: 0.05, zeroPoint: 0 }])),
    };
    const text = change(q);
    writeFileSync(temp.path('stated.onnx'), exportModel(net, new Map([['bitloom.quantization', typeof text === 'string' ? text : JSON.stringify(q)]])));
    return temp.path('stated.onnx');
  };

  it.each<[string, Parameters<typeof written>[0]]>([
    ['no JSON', () => '{'], ['another version', (q) => Object.assign(q, { version: 2 })], ['a missing layer', (q) => delete q.layers[Object.keys(q.layers)[1]]],
    ['nine bits', (q) => Object.assign(Object.values(q.layers)[0] as object, { bits: 9 })], ['steps of no size', (q) => Object.assign(Object.values(q.activations)[0] as object, { scale: 1e-60 })],
    ['too few steps', (q) => Object.assign(Object.values(q.layers)[0] as object, { scale: [1] })], ['a zero point beyond the codes', (q) => Object.assign(Object.values(q.activations)[0] as object, { zeroPoint: 256 })],
    ['a missing activation', (q) => delete q.activations[Object.keys(q.activations)[0]]],
  ])('are refused with %s (E207)', async (_, change) => {
    await expect(compile(await written(change))).rejects.toMatchObject({ code: 'E207' });
  });

  it('are compiled as they say', async () => {
    const report = await compile(await written(() => null));
    expect(report.layers.every((l) => l.weightBits === 4 && l.activationBits === 8)).toBe(true);
  });
});
