/** Learnt rounding and equalisation, from options to bundles. */
import { runProgram } from '@bitloom/kernel-spec';
import { evaluateGraph } from '@bitloom/ops';
import { Rng, type Tensor, tensor, toNumbers } from '@bitloom/tensor';
import { afterAll, describe, expect, it } from 'vitest';
import { options, random, tinyNet, workplace } from './networks.test.util.js';
import { compile, verifyBundle } from './index.js';
import { loadModel, statisticsGraph } from './model.js';
import { type Compiled, compileToProgram } from './pipeline.js';

const temp = workplace();
afterAll(temp.dispose);
const MODEL = temp.model('tiny', tinyNet());
/** Smooth images: where neighbours are alike, errors of weights can make up for each other. */
const image = (seed: number): Tensor => {
  const rng = new Rng(seed);
  const [level, noise] = [random(rng, [3, 1]), random(rng, [3, 81], 0.3)];
  return tensor('f32', [3, 9, 9], (noise.data as Float32Array).map((v, i) => v + (level.data[Math.floor(i / 81)] as number)));
};
const stacked = (images: readonly Tensor[]): Tensor => tensor('f32', [images.length, 3, 9, 9], Float32Array.from(images.flatMap((t) => toNumbers(t))));
const DATA = temp.data('data', { x: stacked(Array.from({ length: 64 }, (_, i) => image(i))) });

/** ‖program − float‖ / ‖float‖ on samples that calibration has not seen. */
function relativeError({ program, model }: Compiled): number {
  let [error, norm] = [0, 0];
  for (let n = 0; n < 30; n++) {
    const x = new Map([['x', stacked([image(1000 + n)])]]);
    const expected = toNumbers(evaluateGraph(model.graph, x).get(model.graph.outputs[0])!);
    toNumbers([...runProgram(program!, x).values()][0]).forEach((v, k) => {
      error += (v - expected[k]) ** 2;
      norm += expected[k] ** 2;
    });
  }
  return Math.sqrt(error / norm);
}

const made = (o: object): Promise<Compiled> => compileToProgram(MODEL, options({ precision: 'w3a8', calib: DATA, ...o }));

describe('rounding', () => {
  it.each([{ precision: 'w3a8' }, { precision: null, budget: 'bits=3', freeEnds: true }])('learnt from data, %o is nearer to the float network', async (o) => {
    const [nearest, learnt] = [relativeError(await made({ ...o, rounding: 'nearest' })), relativeError(await made({ ...o, rounding: 'adaround' }))];
    expect(learnt).toBeLessThan(0.8 * nearest);
  });

  it('makes bundles of the same bits and bytes, which verify', async () => {
    const made = async (rounding: 'nearest' | 'adaround'): ReturnType<typeof compile> =>
      compile(MODEL, { precision: 'w3a8', calib: DATA, rounding, output: temp.path(rounding) });
    const [nearest, learnt] = [await made('nearest'), await made('adaround')];
    expect([learnt.bits, learnt.bytes.weights, learnt.warnings]).toEqual([nearest.bits, nearest.bytes.weights, []]);
    const report = await verifyBundle(temp.path('adaround'), { data: null, reference: 3, limit: null });
    expect(report.mismatches).toBe(0);
  });

  it('gives the same program for the same seed, without bias correction and on random inputs too', async () => {
    const constants = async (o: object): Promise<unknown> => (await made(o)).program!.buffers.map((b) => b.data);
    expect(await constants({})).toEqual(await constants({}));
    expect(relativeError(await made({ biasCorrection: false }))).toBeLessThan(relativeError(await made({ biasCorrection: false, rounding: 'nearest' })));
    expect(await constants({ calib: null, samples: 8 })).toEqual(await constants({ calib: null, samples: 8, rounding: 'nearest' }));
  });
});

describe('equalisation', () => {
  it('is a pass over both graphs, and off unless asked for', async () => {
    const passes = async (o: object): Promise<string[]> => {
      const seen: string[] = [];
      await compileToProgram(MODEL, options({ precision: 'w8a8', calib: DATA, samples: 8, ...o }), { afterPass: (p) => seen.push(p) });
      return seen;
    };
    expect(await passes({})).not.toContain('equalize');
    expect(await passes({ equalize: true })).toContain('equalize');
    const m = await loadModel(MODEL, {}, null, undefined, true);
    const g = await statisticsGraph(m);
    expect(g.inputs.map((id) => g.values.get(id)!.type.shape[0])).toEqual([32]);
    expect(relativeError(await made({ precision: 'w8a8', equalize: true }))).toBeLessThan(0.06);
  });
});
