/** Tuning with a clock that is a formula, and once with the real one; latency budgets over what it measured. */
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { NO_C_COMPILER, findCompiler } from '@bitloom/backend-c';
import { type CostTable, type Plan, convKey, fitKey, nestKey, paramsOfKey, parseCostTable } from '@bitloom/codegen';
import { BitloomError, type Diagnostic } from '@bitloom/diagnostics';
import { type ConvParams, convMacs } from '@bitloom/kernel-spec';
import { createBuilder } from '@bitloom/ops';
import { Rng } from '@bitloom/tensor';
import { quantizable, splitStreams } from '@bitloom/transforms';
import { afterAll, beforeEach, describe, expect, it } from 'vitest';
import { compile, search, tune } from './index.js';
import { latencyModel, nominalProgram, planTime } from './latency.js';
import { loadModel } from './model.js';
import { addConv, addLinear, compileQuickly, options, tinyData, tinyNet, workplace } from './networks.test.util.js';
import { compileToProgram } from './pipeline.js';
import { contenders, costsOf, flavoursOf, planOf } from './targets.js';
import type { Timer } from './tune.js';

const cc = await findCompiler();
if (!cc) console.log(`skipped in part: ${NO_C_COMPILER}`);
const temp = workplace();
compileQuickly(cc, temp);
afterAll(temp.dispose);
const MODEL = temp.model('tiny', tinyNet());
const { x, labels } = tinyData(40);
const DATA = temp.data('data', { x, labels });
const TABLE = temp.path('costs.json');
beforeEach(() => rmSync(TABLE, { force: true }));

const coded = (code: string): unknown => expect.objectContaining({ code });
const table = (): CostTable => parseCostTable(readFileSync(TABLE, 'utf8'), TABLE);
const keysOf = (t: CostTable): string[] => [...t.convs, ...t.nests].flatMap(([id, times]) => [...times.keys()].map((k) => `${id} ${k}`)).sort();

/** A kernel's time from its name and bits alone, so that bits and kernels matter; nests cost 50 ns. */
const nsOf = (variant: string, p: { weightBits: number | null; activationBits: number | null; outC: number }): number =>
  100 * p.outC + (variant.startsWith('int8') ? 640 : 10 * (p.weightBits ?? 32) * (p.activationBits ?? 32)) + variant.length;
const formula: Timer = async (plans) =>
  plans.map((plan) => plan.calls.map(({ call, variant }) => (call.family === 'conv' ? nsOf(variant!.name, call.params) : 50)));

describe('tune', () => {
  const wide = { output: TABLE, weights: [1, 2, 3, 4, 5, 6, 7, 8] as number[], activations: [2, 4, 8] as number[] };

  it('times every kernel that accepts a layer at every bit pair, every nest, and predicts sums of the fastest', async () => {
    const r = await tune(MODEL, { output: TABLE, weights: [2, 4], activations: [4, 8] }, {}, formula);
    const t = table();
    expect(r).toMatchObject({ costs: TABLE, targets: ['wasm'], known: 0, left: 0, timed: keysOf(t).length });
    const g = (await loadModel(MODEL)).graph;
    const { layers } = quantizable(g);
    const [flavour] = flavoursOf('wasm');
    for (const [w, a] of [[2, 4], [2, 8], [4, 4], [4, 8], [8, 4], [8, 8]] as const) {
      const of = [...t.convs].flatMap(([id, times]) => [...times].map(([key, ns]) => ({ id, key, ns }))).filter(({ key }) => key.startsWith(`w${w}a${a} `));
      expect(new Set(of.map((e) => e.key)).size).toBe(layers.length); // all of different shapes
      for (const { id, key, ns } of of) {
        const p = paramsOfKey(key)!;
        expect(convKey(p)).toBe(key);
        expect(ns).toBe(nsOf(id.slice('wasm '.length), p));
      }
      for (const key of new Set(of.map((e) => e.key))) {
        const kernels = contenders(flavour, paramsOfKey(key)!).map((v) => `wasm ${v.name}`);
        expect(of.filter((e) => e.key === key).map((e) => e.id)).toEqual(expect.arrayContaining(kernels));
      }
      const fastest = [...new Set(of.map((e) => e.key))].reduce((s, key) => s + Math.min(...of.filter((e) => e.key === key).map((e) => e.ns)), 0);
      const found = r.predictions.find((p) => p.weightBits === w && p.activationBits === a)!;
      expect((found.ns - fastest) % 50).toBeCloseTo(0, 6);
      expect(found.ns).toBeGreaterThan(fastest);
    }
    expect(r.predictions.map((p) => p.weightBits)).toContain(32);
  });

  it('lets compile tell that fewer bits are slower', async () => {
    // Nests, whose shapes bits do not change, cost nothing.
    const slow: Timer = async (plans) => plans.map((plan) => plan.calls.map(({ call }) =>
      (call.family === 'conv' ? 1000 * (call.params.weightBits === 2 ? 3 : 1) : 1)));
    await tune(MODEL, { output: TABLE, weights: [2, 4], activations: [4, 8] }, {}, slow);
    const told = async (precision: string): Promise<readonly string[]> =>
      (await compile(MODEL, { precision, costs: TABLE, calib: DATA, samples: 16, freeEnds: true })).warnings.filter((w) => w.includes('as long as at 8 bits on wasm'));
    expect(await told('w2a8')).toHaveLength(1);
    expect(await told('w4a8')).toEqual([]);
    expect(await told('f32')).toEqual([]);
  });

  it('goes on where it was ended, to the same times', async () => {
    await tune(MODEL, wide, {}, formula);
    const whole = keysOf(table());
    const text = readFileSync(TABLE, 'utf8');
    rmSync(TABLE);
    let batches = 0;
    const dying: Timer = (...a) => (++batches === 2 ? Promise.reject(new Error('killed')) : formula(...a));
    await expect(tune(MODEL, wide, {}, dying)).rejects.toThrow('killed');
    const part = keysOf(table());
    expect(part.length).toBeGreaterThan(0);
    expect(part.length).toBeLessThan(whole.length);
    const timedLater: Plan[] = [];
    const r = await tune(MODEL, wide, {}, (...a) => (timedLater.push(...a[0]), formula(...a)));
    expect(keysOf(table())).toEqual(whole);
    expect([r.known, r.timed]).toEqual([part.length, whole.length - part.length]);
    // Bit pairs that were done are not run again.
    const bits = new Set(timedLater.flatMap((p) => p.calls.flatMap((c) => (c.call.family === 'conv' ? [convKey(c.call.params)] : []))));
    expect([...bits].every((key) => !part.some((k) => k.endsWith(key)))).toBe(true);
    expect(readFileSync(TABLE, 'utf8')).toBe(text);
  });

  it('times nothing twice, but --again; a shape of another batch is another', async () => {
    const config = { output: TABLE, weights: [4], activations: [8] };
    const first = await tune(MODEL, config, {}, formula);
    const none: Timer = () => Promise.reject(new Error('nothing to time'));
    expect(await tune(MODEL, config, {}, none)).toMatchObject({ timed: 0, known: first.timed, left: 0 });
    const slow: Timer = async (...a) => (await formula(...a)).map((calls) => calls.map((ns) => 3 * ns));
    const again = await tune(MODEL, { ...config, again: true }, {}, slow);
    expect(again).toMatchObject({ timed: first.timed, known: 0 });
    again.predictions.forEach((p, i) => expect(p.ns / first.predictions[i].ns).toBeCloseTo(3, 6));
    expect((await tune(MODEL, { ...config, batch: 2 }, {}, formula)).timed).toBeGreaterThan(0);
  });

  it('stops beginning at the time limit, and says what is left', async () => {
    const r = await tune(MODEL, { ...wide, maxSeconds: 0 }, {}, formula);
    expect(r).toMatchObject({ timed: 0, known: 0 });
    expect(r.left).toBe((await tune(MODEL, wide, {}, formula)).timed);
  });

  it('refuses tables of other machines (E503) and files that are none', async () => {
    await tune(MODEL, { output: TABLE, weights: [8] }, {}, formula);
    const text = readFileSync(TABLE, 'utf8');
    writeFileSync(TABLE, text.replace(/("wasm": ")[^"]*"/, '$1abacus"'));
    await expect(tune(MODEL, { output: TABLE }, {}, formula)).rejects.toEqual(coded('E503'));
    expect((await tune(MODEL, { output: TABLE, weights: [8], again: true }, {}, formula)).known).toBe(0);
    expect(readFileSync(TABLE, 'utf8')).toBe(text);
    writeFileSync(TABLE, 'what');
    await expect(tune(MODEL, { output: TABLE }, {}, formula)).rejects.toEqual(coded('E503'));
    expect(readFileSync(TABLE, 'utf8')).toBe('what');
    await expect(tune(MODEL, { output: temp.root }, {}, formula)).rejects.toEqual(coded('E704'));
  });

  it('typical layers find few weights in the cache; layers of a model find what the network leaves', async () => {
    const seen = new Map<string, boolean>();
    const noting: Timer = (plans, rounds, between) => {
      for (const { calls } of plans) for (const { call } of calls) seen.set(call.family === 'conv' ? convKey(call.params).replace(/^\S+ /, '') : 'nest', rounds.cached(call));
      return formula(plans, rounds, between);
    };
    await tune(null, { weights: [8], activations: [8] }, {}, noting);
    expect([...['1x8x8x64>8x8x64 k3x3 s1x1 p1x1 d1x1 g1', '1x1x1x256>1x1x64 k1x1 s1x1 p0x0 d1x1 g1', '1x7x7x512>7x7x512 k3x3 s1x1 p1x1 d1x1 g1', '1x1x1x1024>1x1x1024 k1x1 s1x1 p0x0 d1x1 g1'].map((k) => seen.get(`${k} codes`)), seen.get('nest')])
      .toEqual([true, true, false, false, false]);
    seen.clear();
    await tune(MODEL, { weights: [8], activations: [8] }, {}, noting);
    expect(new Set(seen.values())).toEqual(new Set([false]));
  });

  it('without a model fits costs of every form of layer', async () => {
    const ns = (p: ConvParams): number => 1000 + convMacs(p) / 30 + p.outH * p.outW * p.outC;
    const linear: Timer = async (plans) => plans.map((plan) => plan.calls.map(({ call }) => (call.family === 'conv' ? ns(call.params) : 50)));
    await tune(null, { output: TABLE, weights: [8], activations: [8] }, {}, linear);
    const t = table();
    const forms = ['vector', 'pointwise', 'window', 'narrow', 'depthwise', 'grouped'].map((f) => `w8a8 ${f}`);
    expect([...t.fits.get('wasm int8__simd128')!.keys()].filter((k) => k.startsWith('w8a8'))).toEqual(expect.arrayContaining(forms.filter((f) => !f.endsWith('depthwise'))));
    expect(t.fits.get('wasm nest')!.has('all')).toBe(true);
    // The fit gives times of shapes that were never timed.
    const [{ variants }] = flavoursOf('wasm');
    const int8 = variants.find((v) => v.name === 'int8__simd128')!;
    const p = { ...paramsOfKey([...t.convs.get('wasm int8__simd128')!.keys()].find((k) => fitKey(paramsOfKey(k)!) === 'w8a8 window')!)!, outC: 77 };
    const cost = costsOf('wasm', t).conv(int8, p);
    expect(cost.measured).toBe(false);
    expect(cost.ns / ns(p)).toBeCloseTo(1, 1);
  });

  it('with the real clock: WebAssembly', async () => {
    const r = await tune(MODEL, { output: TABLE, weights: [8] });
    expect(r.predictions.every((p) => p.ns > 100 && p.ns < 1e8)).toBe(true);
    expect(r.seconds).toBeLessThan(60);
  });
  it.skipIf(!cc)('with the real clock: C', async () => {
    const r = await tune(MODEL, { output: TABLE, target: 'c', isa: ['portable'], weights: [8] });
    expect(r.targets).toEqual(['c']);
    expect(r.predictions.every((p) => p.ns > 100 && p.ns < 1e8)).toBe(true);
    await expect(tune(MODEL, { target: 'c', isa: ['z80'] })).rejects.toEqual(coded('E603'));
  });
});

describe('latency budgets', () => {
  const bits = { calib: DATA, samples: 16, weights: [2, 4, 8], activations: [4, 8], freeEnds: true };
  const tuned = (): Promise<unknown> => tune(MODEL, { output: TABLE, weights: bits.weights, activations: bits.activations }, {}, formula);

  it('are met, as the bundle predicts it; larger ones lose less', async () => {
    await tuned();
    let objective = Infinity;
    for (const budget of ['latency=80%', 'latency=90%', 'latency=100%w8a8']) {
      const r = await compile(MODEL, { ...bits, budget, costs: TABLE });
      expect(r.budget!.used).toBeLessThanOrEqual(r.budget!.limit);
      expect(r.latency.wasm).toBeCloseTo(r.budget!.used, 3);
      expect(r.layers.every((l) => l.measured)).toBe(true);
      expect(r.layers.reduce((s, l) => s + l.ns, 0)).toBeLessThan(r.latency.wasm);
      r.layers.forEach((l) => expect(l.runnerUpNs ?? Infinity).toBeGreaterThanOrEqual(l.ns));
      expect(r.search.objective!).toBeLessThanOrEqual(objective);
      objective = r.search.objective!;
    }
    const s = await search(MODEL, { ...bits, budget: 'latency=80%', costs: TABLE });
    expect(s.budget!.used).toBeLessThanOrEqual(s.budget!.limit);
    expect(s.budget!.shown).toMatch(/^latency=\d+ns$/);
    const u = await search(MODEL, { ...bits, budget: 'latency=80%', costs: TABLE, strategy: 'uniform' });
    expect(u.budget!.used).toBeLessThanOrEqual(u.budget!.limit);
    expect(u.bits.weights * u.bits.activations).toBeLessThan(64);
  });

  it('that are too small name the smallest (E501), which can be met', async () => {
    await tuned();
    const failed = await search(MODEL, { ...bits, budget: 'latency=1ns', costs: TABLE }).catch((e: BitloomError) => e.diagnostic) as Diagnostic;
    expect(failed).toMatchObject({ code: 'E501', found: 'latency=1ns' });
    const [least] = /latency=.*/.exec(failed.expected!)!;
    const s = await search(MODEL, { ...bits, budget: least, costs: TABLE });
    expect(s.budget!.used).toBeLessThanOrEqual(s.budget!.limit);
    const g = (await loadModel(MODEL)).graph;
    const model = latencyModel(g, flavoursOf('wasm')[0], costsOf('wasm', table()));
    const pairs = bits.weights.flatMap((w) => bits.activations.map((a) => [w, a] as const));
    const fastest = quantizable(g).layers.reduce((ns, l) => ns + Math.min(...pairs.map(([w, a]) => model.layer(l.name, w, a))), model.fixed);
    expect(s.budget!.used).toBeCloseTo(fastest, 3);
  });

  it('without a table rest on the shipped one', async () => {
    const r = await compile(MODEL, { ...bits, budget: 'latency=100%' });
    expect(r.budget!.used).toBeLessThanOrEqual(r.budget!.limit);
    expect(r.layers.every((l) => l.ns > 0 && !l.measured)).toBe(true);
    await expect(compile(MODEL, { ...bits, budget: 'latency=100%', costs: temp.path('absent.json') })).rejects.toEqual(coded('E704'));
  });

  it('the model of a network is what its programs cost at any bits', async () => {
    await tuned();
    const g = (await loadModel(MODEL)).graph;
    const [flavour] = flavoursOf('wasm');
    const costs = costsOf('wasm', table());
    const model = latencyModel(g, flavour, costs);
    for (const [w, a] of [[2, 4], [4, 8], [8, 4], [8, 8]]) {
      const r = await compile(MODEL, { precision: `w${w}a${a}`, freeEnds: true, samples: 4, costs: TABLE });
      expect(r.latency.wasm).toBeCloseTo(quantizable(g).layers.reduce((s, l) => s + model.layer(l.name, w, a), model.fixed), 3);
    }
    const f = await compile(MODEL, { precision: 'f32', costs: TABLE });
    expect(f.latency.wasm).toBeCloseTo(model.float, 3);
  });

  it('layers that read the same stream share what requantises it', () => {
    const rng = new Rng(5);
    const b = createBuilder('fan');
    const named = (name: string): typeof b => Object.assign(b, { origin: name });
    const x = b.input('x', { dtype: 'f32', shape: [1, 3, 6, 6] });
    const stem = addConv(named('stem'), rng, x, { channels: 3, outputs: 6, size: 3 });
    const [p, q] = ['p', 'q'].map((name) => addConv(named(name), rng, stem, { channels: 6, outputs: 6, size: 3 }));
    const wide = b.add('concat', [stem, p, q], { axis: 1 });
    // Reads a stream in another layout than the convolutions.
    const rows = addLinear(named('rows'), rng, wide, 6, 6);
    const end = addConv(named('end'), rng, b.add('add', [wide, rows], {}), { channels: 18, outputs: 2, size: 1, pads: [0, 0, 0, 0] });
    const g = b.build([end]);
    const [flavour] = flavoursOf('wasm');
    const costs = costsOf('wasm', null);
    const model = latencyModel(splitStreams(g), flavour, costs);
    const layers = quantizable(g).layers.map((l) => l.name);
    for (const [w, a] of [[8, 8], [8, 4], [3, 2]] as const) {
      const total = planTime(planOf(nominalProgram(splitStreams(g), w, a), flavour, costs), costs);
      expect(layers.reduce((s, name) => s + model.layer(name, w, a), model.fixed) / total).toBeCloseTo(1, 9);
    }
    // Without streams what a layer costs is its kernel.
    const kernels = latencyModel(g, flavour, costs);
    const share = (name: string, a: number): number => model.layer(name, 8, a) - kernels.layer(name, 8, a);
    expect(layers.map((name) => share(name, 8))).toEqual([0, 0, 0, 0, 0]);
    expect(['stem', 'end'].map((name) => share(name, 4))).toEqual([0, 0]);
    expect(share('p', 4)).toBeGreaterThan(0);
    expect(share('q', 4)).toBeCloseTo(share('p', 4), 6);
    expect(share('rows', 4)).toBeGreaterThan(2 * share('p', 4));
    expect(share('rows', 2)).toBeCloseTo(share('rows', 4), 6);
  });

  it('keys of nests are found in programs of other scales and bits', async () => {
    await tuned();
    const known = table().nests.get('wasm')!;
    const { program } = await compileToProgram(MODEL, options({ calib: DATA, samples: 16, precision: 'w2a4' }));
    for (const c of program!.calls) if (c.family === 'nest') expect(known.has(nestKey(c.params)), c.origin).toBe(true);
  });
});
