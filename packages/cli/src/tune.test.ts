/** Tuning, and what its times are for, on the command line. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { CONTRACTS, breaches } from './contracts.js';
import { bitloom, json, tinyFolder } from './tiny.test.util.js';

const folder = tinyFolder();
afterAll(folder.dispose);
const MODEL = folder.path('model.onnx');
const DATA = folder.path('data.npz');
const COSTS = folder.path('costs.json');
const PAIRS = ['--weights', '2,4,8', '--activations', '4,8'];
const BITS = [...PAIRS, '--calib', DATA, '--samples', '16', '--free-ends'];
/** Without relaxed SIMD, which not every engine has. */
const TUNED = [...PAIRS, '--target', 'wasm-simd128', '-o', COSTS];
const tuned = { code: -1, value: {} as Record<string, unknown>, err: '' };
beforeAll(async () => Object.assign(tuned, await json('tune', MODEL, ...TUNED)));

describe('tune', () => {
  test('keeps its contract and writes a table', () => {
    expect(tuned.code).toBe(0);
    expect(breaches(CONTRACTS.tune, tuned.value)).toEqual([]);
    expect(tuned.value).toMatchObject({ costs: COSTS, known: 0, left: 0, targets: ['wasm-simd128'] });
    expect(tuned.value.predictions).toHaveLength(1 + 3 * 2);
    expect(JSON.parse(readFileSync(COSTS, 'utf8'))).toMatchObject({ version: 2, machine: { wasm: tuned.value.machine } });
  });

  test('a second run has nothing to do; its text names the machine and each bit pair', async () => {
    const { code, out, err } = await bitloom('tune', MODEL, ...TUNED);
    expect([code, err]).toEqual([0, '']);
    expect(out).toContain(tuned.value.machine);
    expect(out).toMatch(/timed +0 kernels and nests/);
    expect(out).toMatch(/wasm-simd128 +f32 +f32 +[\d.]+ [µm]s/);
  });

  test('warns of what it leaves and of what is not kept', async () => {
    const { code, value, err } = await json('tune', MODEL, '--max-time', '0');
    expect(code).toBe(0);
    expect(value.left).toBeGreaterThan(0);
    expect(err).toContain('times are left');
    expect(err).toContain('not kept');
  });

  test('refuses what it cannot go on with', async () => {
    writeFileSync(folder.path('bad.json'), '{"version":1}');
    const { code, value } = await json('tune', MODEL, '-o', folder.path('bad.json'));
    expect([code, value.error!.code]).toEqual([1, 'E503']);
    expect(readFileSync(folder.path('bad.json'), 'utf8')).toBe('{"version":1}');
    for (const flags of [['--target', 'wsam'], ['--max-time', 'soon'], ['--max-time', '-1'], ['--weights', '9'], ['--batch', '0']]) {
      expect((await json('tune', MODEL, ...flags)).value.error!.code).toBe('E101');
    }
  });
});

describe('--costs and latency', () => {
  test('a budget is met, and the report names times and runner-ups', async () => {
    const { code, value } = await json('compile', MODEL, ...BITS, '--budget', 'latency=100%', '--costs', COSTS);
    expect(code).toBe(0);
    expect(breaches(CONTRACTS.compile, value)).toEqual([]);
    const report = value as never as {
      budget: { kind: string; used: number; limit: number }; latency: { wasm: number };
      layers: { ns: number; measured: boolean; runnerUp: string | null; runnerUpNs: number | null }[]; bytes: { arena: number; live: number };
    };
    expect(report.budget.kind).toBe('latency');
    expect(report.budget.used).toBeLessThanOrEqual(report.budget.limit);
    expect(report.latency.wasm).toBeCloseTo(report.budget.used, 3);
    for (const l of report.layers) expect(l.measured && (l.runnerUpNs ?? Infinity) >= l.ns, String(l.runnerUp)).toBe(true);
    expect(report.bytes.arena).toBeLessThanOrEqual(1.2 * report.bytes.live + 64);
    const { out } = await bitloom('compile', MODEL, ...BITS, '--budget', 'latency=100%', '--costs', COSTS);
    expect(out).toMatch(/latency +wasm .*\(predicted\)/);
    expect(out).toMatch(/arena .*largest live set .*, ratio 1\.\d\d/);
  });

  test('an impossible one exits with 3 and names the smallest', async () => {
    const { code, value } = await json('search', MODEL, ...BITS, '--budget', 'latency=1ns', '--costs', COSTS);
    expect([code, value.error!.code]).toEqual([3, 'E501']);
    const [least] = /latency=\S+/.exec(value.error!.expected!)!;
    expect((await json('search', MODEL, ...BITS, '--budget', least, '--costs', COSTS)).code).toBe(0);
  });

  test('times that were not measured are marked', async () => {
    const { out } = await bitloom('compile', MODEL, '--samples', '2', '--precision', 'w3a3', '--costs', COSTS);
    expect(out).toMatch(/~[\d.]+ [nµm]s/);
    expect(out).toContain('see bitloom tune');
  });

  test('a table that is not there or is none', async () => {
    expect((await json('compile', MODEL, '--costs', folder.path('no.json'))).value.error).toMatchObject({ code: 'E704', remedy: expect.stringContaining('tune') });
    expect((await json('compile', MODEL, '--costs', MODEL)).value.error!.code).toBe('E503');
    expect((await json('compile', MODEL, '--budget', 'latency=3')).value.error!.code).toBe('E101');
  });
});

describe('--batch', () => {
  test('is the leading dimension of inputs and outputs', async () => {
    const bundle = folder.path('batched');
    expect((await json('compile', MODEL, '--precision', 'w8a8', '--samples', '2', '--batch', '2', '-o', bundle)).code).toBe(0);
    const { value } = await json('inspect', bundle);
    expect(value).toMatchObject({ inputs: [{ shape: [2, 3, 8, 8] }], outputs: [{ shape: [2, 4] }], latency: { wasm: expect.any(Number) } });
    expect(breaches(CONTRACTS.inspectBundle, value)).toEqual([]);
    expect((await json('verify', bundle)).code).toBe(0);
    expect(existsSync(bundle)).toBe(true);
  });
});
