/** Contenders run in their processes and answer with times. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { NO_C_COMPILER, findCompiler } from '@bitloom/backend-c';
import { BitloomError } from '@bitloom/diagnostics';
import { exportOnnx } from '@bitloom/onnx';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { C_ENGINES } from './engines.js';
import { Lab, type Profiled, findPeer } from './lab.js';
import { repeated } from './models.js';
import { type Network, cNetwork, openNetwork, programOf, qdqOf, wasmNetwork } from './network.js';
import type { Contender } from './rounds.js';
import { layers } from './suites.js';
import { Worker } from './worker.js';

const cc = await findCompiler();
if (!cc) console.log(`skipped: ${NO_C_COMPILER}`);
const here = fileURLToPath(new URL('..', import.meta.url));
const lab = new Lab({ node: process.execPath, nodeFlags: [], clock: 'wall' });
afterAll(() => lab.dispose());

let net: Network;
beforeAll(async () => {
  net = await openNetwork(exportOnnx(repeated({ channels: 16, outputs: 16, size: 8, kernel: 3 }, 2)));
});

async function timed(c: Contender): Promise<void> {
  const t = await c.run(5);
  expect(t.min).toBeGreaterThan(0);
  expect(t.median).toBeGreaterThanOrEqual(t.min);
  expect(t.total).toBeGreaterThanOrEqual(5 * t.min);
}

async function profiled(c: Profiled, calls: number): Promise<void> {
  const steps = await c.profile(5);
  expect(steps).toHaveLength(calls);
  for (const s of steps) expect(s.median).toBeGreaterThanOrEqual(s.min);
}

describe('a lab', () => {
  it.each(['wasm-simd128', 'wasm-relaxed', 'wasm-scalar'])('times a module for %s, and its calls', async (target) => {
    const program = programOf(net, [2, 4], false);
    const c = await lab.wasm(target, await wasmNetwork(program, target, null), net.inputs);
    await timed(c);
    await profiled(c, program.calls.length);
  });

  it.skipIf(!cc).each(['c', 'c-scalar'])('times %s', async (engine) => {
    const program = programOf(net, [4, 4], false);
    const c = await lab.c(engine, cNetwork(program, C_ENGINES[engine].isa, null), [...net.inputs.values()], C_ENGINES[engine]);
    expect(engine === 'c' ? c.isa : [c.isa]).toEqual(engine === 'c' ? expect.any(String) : ['portable']);
    await timed(c);
    await profiled(c, program.calls.length);
  });

  it.skipIf(!cc)('tells that the machine lacks an instruction set', async () => {
    const program = programOf(net, 'f32', false);
    const engine = { isa: process.arch === 'arm64' ? 'avx2' : 'neon', flags: ['-std=c99', '-O1'] } as const;
    const missing = lab.c('c', cNetwork(program, null, null), [...net.inputs.values()], engine);
    await expect(missing).rejects.toMatchObject({ code: 'E604' });
  });

  it.each(['onnxruntime-web', 'onnxruntime-node'] as const)('times %s in floats and in integers', async (peer) => {
    const { entry, version } = findPeer(peer, [here]);
    expect(version).toMatch(/^\d+\.\d+\.\d+/);
    for (const model of [net.bytes, qdqOf(net)]) await timed(await lab.peer(peer, peer, entry, lab.write('model.onnx', model), net.inputs));
  });

  it('says how to install what is missing', () => {
    const empty = mkdtempSync(join(tmpdir(), 'bitloom-empty-'));
    try {
      const diagnostic: unknown = expect.objectContaining({ remedy: 'npm install onnxruntime-web' });
      expect(() => findPeer('onnxruntime-web', [empty])).toThrow(expect.objectContaining({ code: 'E705', diagnostic }));
    } finally {
      rmSync(empty, { recursive: true });
    }
  });

  it('reports what a contender or its process says when it fails', async () => {
    const broken = lab.peer('broken', 'onnxruntime-node', findPeer('onnxruntime-node', [here]).entry, lab.write('broken.onnx', 'no model'), net.inputs);
    await expect(broken).rejects.toThrow(BitloomError);
    const dying = new Worker(process.execPath, ['-e', 'process.stdin.once("data", () => { console.error("out of luck"); process.exit(3); })']);
    const failed = await dying.run('0', 1).catch((e: BitloomError) => e);
    expect(failed).toMatchObject({ code: 'E604', diagnostic: { found: 'exit 3 out of luck' } });
    await expect(dying.run('0', 1)).rejects.toMatchObject({ code: 'E604' });
    await expect(new Worker('/nonexistent/program', []).run('0', 1)).rejects.toMatchObject({ code: 'E604' });
  });
});

it('a suite measures every engine at every precision, and one layer of the chains', async () => {
  const results: unknown[] = [];
  const skipped: string[] = [];
  await layers(lab, {
    engines: ['wasm-simd128', 'onnxruntime-node'], costs: null, precisions: [[1, 1], 'f32'], only: ['conv1x1-256@14'], rounds: 1, roundMs: 1,
    progress: () => {}, result: (r) => results.push(...r), skip: (s) => skipped.push(s),
  });
  expect(skipped).toEqual([]);
  const one = { suite: 'layers', case: 'conv1x1-256@14', macs: 14 * 14 * 256 * 256, best: expect.any(Number), median: expect.any(Number) };
  const expected = [['wasm-simd128', 'w1a1'], ['wasm-simd128', 'f32'], ['onnxruntime-node', 'f32'], ['onnxruntime-node', 'int8']];
  expect(results).toEqual(expected.map(([engine, precision]) => ({ ...one, engine, precision })));
});
