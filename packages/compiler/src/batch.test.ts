/** Batch sizes fixed at compile time. */
import { NO_C_COMPILER, findCompiler } from '@bitloom/backend-c';
import { createBuilder } from '@bitloom/ops';
import { Rng, type Tensor, tensor, tensorOf } from '@bitloom/tensor';
import { afterAll, describe, expect, it } from 'vitest';
import { compile, evaluate, inspect, runBundle, search, verifyBundle } from './index.js';
import { addLinear, compileQuickly, random, tinyData, tinyNet, workplace } from './networks.test.util.js';

const cc = await findCompiler();
if (!cc) console.log(`skipped in part: ${NO_C_COMPILER}`);
const temp = workplace();
compileQuickly(cc, temp);
afterAll(temp.dispose);
const N = 7;
const { x, labels } = tinyData(N);
const DATA = temp.data('data', { x, labels });
const MODEL = temp.model('tiny', tinyNet());
const config = { calib: DATA, precision: 'w4a8', samples: N } as const;
const coded = (code: string): unknown => expect.objectContaining({ code });

/** Samples `from` on, as one input. */
const part = (from: number, n: number): Tensor => tensor('f32', [n, 3, 9, 9], (x.data as Float32Array).slice(from * 243, (from + n) * 243));

describe('--batch', () => {
  it('gives bundles that take so many samples, and the same results', async () => {
    const [one, three] = [temp.path('one'), temp.path('three')];
    await compile(MODEL, { ...config, target: ['wasm', 'c'], output: one });
    const r = await compile(MODEL, { ...config, target: ['wasm', 'c'], batch: 3, output: three });
    const { inputs, outputs } = (await inspect(three)) as Awaited<ReturnType<typeof inspect>> & { kind: 'bundle' };
    expect([inputs[0].shape, outputs[0].shape]).toEqual([[3, 3, 9, 9], [3, 4]]);
    expect(r.layers.map((l) => l.macs)).toEqual((await compile(MODEL, config)).layers.map((l) => 3 * l.macs));

    const inputsOf = (from: number, n: number): ReadonlyMap<string, Tensor> => new Map([['x', part(from, n)]]);
    const y = (await runBundle(three, inputsOf(2, 3), 'wasm')).get('y')!;
    expect(y.shape).toEqual([3, 4]);
    expect(y.data).toEqual((await runBundle(one, inputsOf(2, 3), 'wasm')).get('y')!.data);
    expect((await runBundle(three, inputsOf(0, 6), 'wasm')).get('y')!.shape).toEqual([6, 4]);
    await expect(runBundle(three, inputsOf(0, 4), 'wasm')).rejects.toEqual(coded('E302'));

    expect(await verifyBundle(three, { data: null, reference: 0, limit: null })).toMatchObject({ mismatches: 0, backends: ['reference', 'wasm', ...(cc ? ['c'] : [])] });
    expect(await verifyBundle(three, { data: DATA, reference: 1, limit: null })).toMatchObject({ mismatches: 0, vectors: Math.ceil(N / 3) });
    const accuracy = { data: DATA, preprocessing: null, define: {}, samples: null, seed: 0, target: null, labelOffset: 0, agree: null };
    expect(await evaluate(three, accuracy)).toEqual(await evaluate(one, accuracy));
  });

  it('is that of search, too; 1 changes nothing', async () => {
    const batched = await search(MODEL, { calib: DATA, budget: 'bops=60%', freeEnds: true, samples: N, batch: 2 });
    const single = await search(MODEL, { calib: DATA, budget: 'bops=60%', freeEnds: true, samples: N, batch: 1 });
    expect(batched.layers.map((l) => l.macs)).toEqual(single.layers.map((l) => 2 * l.macs));
    expect(batched.layers.map((l) => l.weightBits)).toEqual(single.layers.map((l) => l.weightBits));
    expect(single).toMatchObject({ layers: (await search(MODEL, { calib: DATA, budget: 'bops=60%', freeEnds: true, samples: N })).layers });
  });

  it('is refused where the model cannot be widened (E204)', async () => {
    const b = createBuilder('mixed');
    const h = b.add('reshape', [b.input('x', { dtype: 'f32', shape: [1, 4, 4] })], { shape: [4, 4] });
    const mixed = temp.model('mixed', b.build([addLinear(b, new Rng(1), h, 4, 3)]));
    await expect(compile(mixed, { precision: 'f32', batch: 2 })).rejects.toEqual(coded('E204'));
    await expect(compile(MODEL, { precision: 'f32', batch: 0 })).rejects.toEqual(coded('E101'));
  });
});

describe('a search that sees no difference', () => {
  it('warns: the loss does not depend on the weights', async () => {
    const b = createBuilder('dead');
    const rng = new Rng(3);
    // Whatever comes in, the units are off and the scores the same.
    const off = b.const(tensorOf('f32', [5], [-1e3, -1e3, -1e3, -1e3, -1e3]), 'off');
    const h = b.add('relu', [b.add('linear', [b.input('x', { dtype: 'f32', shape: [1, 6] }), b.const(random(rng, [5, 6]), 'w'), off], { activation: null })]);
    const dead = temp.model('dead', b.build([addLinear(b, rng, h, 5, 4, 'y')]));
    const data = temp.data('dead', { x: random(rng, [12, 6]) });
    const quiet = { calib: data, budget: 'bits=4', freeEnds: true } as const;
    const warned = expect.arrayContaining([expect.stringContaining('sensitivities are 0')]);
    expect((await search(dead, quiet)).warnings).toEqual(warned);
    expect((await compile(dead, quiet)).warnings).toEqual(warned);
    expect((await search(MODEL, { ...quiet, calib: DATA })).warnings).toEqual([]);
  });
});
