import { supports } from '@bitloom/bundle';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { CONTRACTS, breaches } from './contracts.js';
import { bitloom, json, tinyFolder } from './tiny.test.util.js';

const folder = tinyFolder();
const [MODEL, BUNDLE, QDQ] = ['model.onnx', 'bundle', 'net.qdq.onnx'].map(folder.path);
beforeAll(async () => {
  await bitloom('compile', MODEL, '--calib', folder.path('data.npz'), '--precision', 'w8a8', '--emit-qdq', QDQ, '-o', BUNDLE);
});
afterAll(folder.dispose);

interface Report {
  engines: { engine: string; precision: string; best: number; median: number }[];
  skipped: string[];
  profile: { calls: { node: string; kernel: string; share: number }[] }[];
}

describe('bench', () => {
  test('times the bundle and other engines, and the calls of the bundle', async () => {
    const { code, value } = await json('bench', BUNDLE, '--against', 'onnxruntime-node', '--model', MODEL, '--qdq', QDQ, '--rounds', '1', '--profile', '-q');
    expect(code).toBe(0);
    expect(breaches(CONTRACTS.bench, value)).toEqual([]);
    const { engines, profile, skipped } = value as never as Report;
    expect(new Set(engines.map((e) => `${e.engine} ${e.precision}`))).toEqual(new Set(['wasm bundle', 'onnxruntime-node f32', 'onnxruntime-node int8']));
    for (const e of engines) expect(e.median >= e.best && e.best > 0).toBe(true);
    // As the loader: a module for relaxed SIMD only where the engine computes it right.
    expect([profile.length, skipped.length]).toEqual(supports(['relaxed-simd']) ? [2, 0] : [1, 1]);
    for (const { calls } of profile) {
      expect(calls.filter((c) => c.kernel !== 'nest')).toHaveLength(3);
      expect(calls.reduce((s, c) => s + c.share, 0)).toBeCloseTo(1, 6);
    }
  });

  test('the table relates times to those of the others', async () => {
    const { code, out } = await bitloom('bench', BUNDLE, '--against', 'onnxruntime-node', '--qdq', QDQ, '--rounds', '1', '-q', '--clock', 'cpu');
    expect(code).toBe(0);
    expect(out).toMatch(/^engine +bits +median +best +× ort-node int8$/m);
    expect(out).toMatch(/^onnxruntime-node \(1\.\d+\.\d+\) +int8 .* 1\.00$/m);
  });

  test('times another bundle in the same rounds', async () => {
    const other = folder.path('other');
    expect((await bitloom('compile', MODEL, '--precision', 'w2a2', '-q', '-o', other)).code).toBe(0);
    const { value } = await json('bench', BUNDLE, '--beside', other, '--rounds', '1', '-q');
    expect(new Set((value as never as Report).engines.map((e) => `${e.engine} ${e.precision}`))).toEqual(new Set(['wasm bundle', `wasm ${other}`]));
    const { out } = await bitloom('bench', BUNDLE, '--beside', other, '--rounds', '1', '-q');
    expect(out.split('\n')[0]).toContain(`× wasm (simd128) ${other}`);
  });

  test('refuses what cannot be compared', async () => {
    expect((await json('bench', BUNDLE, '--against', 'onnxruntime-node')).value.error).toMatchObject({ code: 'E103', remedy: 'add --model net.onnx' });
    expect((await json('bench', BUNDLE, '--against', 'onnxruntime')).value.error).toMatchObject({ code: 'E101' });
    expect((await json('bench', BUNDLE, '--against', 'onnxruntime-node', '--model', folder.path('absent.onnx'))).value.error!.code).toBe('E704');
    expect((await json('bench', BUNDLE, '--against', 'onnxruntime-node', '--model', folder.path('data.npz'))).value.error!.code).toBe('E604');
    expect((await json('bench', folder.path('absent'))).value.error!.code).toBe('E704');
    expect((await json('bench', BUNDLE, '--beside', folder.path('absent'))).value.error!.code).toBe('E704');
  });
});
