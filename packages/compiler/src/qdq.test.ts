/** Calibrated graphs in QDQ form: onnxruntime computes the codes that bundles compute. */
import { readFileSync } from 'node:fs';
import { openModel } from '@bitloom/engine';
import { type Graph, valueOf } from '@bitloom/ir';
import { runProgram } from '@bitloom/kernel-spec';
import { exportQdq } from '@bitloom/onnx';
import { Rng, toNumbers } from '@bitloom/tensor';
import { lowerGraph, quantizable } from '@bitloom/transforms';
import { afterAll, describe, expect, it } from 'vitest';
import { compile } from './api.js';
import { options, random, tinyData, tinyNet, workplace } from './networks.test.util.js';
import { compileToProgram } from './pipeline.js';

const temp = workplace();
afterAll(temp.dispose);
const DATA = temp.data('data', tinyData(10));
const MODEL = temp.model('tiny', tinyNet());
const X = random(new Rng(23), [1, 3, 9, 9]);

/** Every activation that is stored as codes, as an output. */
const watched = (g: Graph): Graph => ({ ...g, outputs: quantizable(g).groups.flatMap((a) => a.values).filter((v) => !g.inputs.includes(v)) });

async function onOnnxruntime(bytes: Uint8Array, optimize: boolean, x = X): Promise<Map<string, number[]>> {
  const session = await openModel(bytes, { optimize });
  try {
    return new Map([...(await session.run(new Map([['x', x]])))].map(([name, t]) => [name, toNumbers(t)]));
  } finally {
    await session.close();
  }
}

const argmax = (v: readonly number[]): number => v.indexOf(Math.max(...v));

describe('QDQ export', () => {
  // A code that rounds the other way at a tie moves more than one code further on where steps are wide.
  it.each([
    ['w8a8', 1, true], ['w4a4', 2, false], ['w2a3', 2, false], ['w1a1', 1, false],
  ] as const)('gives the codes of the integer program at %s', async (precision, most, optimize) => {
    const { graph } = await compileToProgram(MODEL, options({ calib: DATA, precision, freeEnds: true }));
    const g = watched(graph);
    expect(g.outputs.length).toBeGreaterThan(5);
    const expected = runProgram(lowerGraph(g), new Map([['x', X]]));
    const got = [...(await onOnnxruntime(exportQdq(g), optimize)).values()];
    let differing = 0;
    let count = 0;
    g.outputs.forEach((id, i) => {
      const { name, precision: p } = valueOf(g, id);
      const scale = p.state === 'calibrated' ? p.params.scale[0] : NaN;
      toNumbers(expected.get(name)!).forEach((v, k) => {
        const steps = Math.round(Math.abs(v - got[i][k]) / scale);
        expect(steps, `${name}[${k}]`).toBeLessThanOrEqual(most);
        differing += steps;
        count++;
      });
    });
    expect(differing / count).toBeLessThan(0.02);
  });

  it('gives them to the last where some layers have fewer bits than eight: biases are as bundles have them', async () => {
    const { graph } = await compileToProgram(MODEL, options({ calib: DATA, precision: 'w2a2' }));
    const g = watched(graph);
    const [bytes, program] = [exportQdq(g), lowerGraph(g)];
    for (let i = 0; i < 24; i++) {
      const x = random(new Rng(100 + i), [1, 3, 9, 9]);
      const expected = runProgram(program, new Map([['x', x]]));
      const got = [...(await onOnnxruntime(bytes, false, x)).values()];
      g.outputs.forEach((id, k) => {
        const { name, precision } = valueOf(g, id);
        const scale = precision.state === 'calibrated' ? precision.params.scale[0] : NaN;
        const codes = (v: readonly number[]): number[] => v.map((y) => Math.round(y / scale));
        expect(codes(got[k]), name).toEqual(codes(toNumbers(expected.get(name)!)));
      });
    }
  });

  it('is written by compile, with the ONNX names of inputs and outputs, and classifies as the bundle does', async () => {
    const file = temp.path('qdq.onnx');
    const report = await compile(MODEL, { calib: DATA, precision: 'w8a8', emitQdq: file });
    expect(report.qdq).toBe(file);
    const { graph } = await compileToProgram(MODEL, options({ calib: DATA, precision: 'w8a8' }));
    const y = toNumbers(runProgram(lowerGraph(graph), new Map([['x', X]])).get('y')!);
    const out = await onOnnxruntime(readFileSync(file), true);
    expect([...out.keys()]).toEqual(['y']);
    expect(argmax(out.get('y')!)).toBe(argmax(y));
    out.get('y')!.forEach((v, i) => expect(v).toBeCloseTo(y[i], 1));
  });

  it('leaves activations to the quantisation after them where it clips as they do', async () => {
    const { graph } = await compileToProgram(MODEL, options({ calib: DATA, precision: 'w8a8', freeEnds: true }));
    const text = Buffer.from(exportQdq(graph)).toString('latin1');
    expect(text).toContain('QuantizeLinear');
    expect(text.match(/Clip/g) ?? []).toEqual([]);
  });

  it('refuses floats', async () => {
    await expect(compile(MODEL, { precision: 'f32', emitQdq: temp.path('f.onnx') })).rejects.toMatchObject({ code: 'E103' });
  });
});
