/** Bundles for several threads, from the option to pages and programs that load them. */
import { execFile } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { openBundle } from '@bitloom/bundle';
import { createBuilder } from '@bitloom/ops';
import { Rng, toNumbers } from '@bitloom/tensor';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { CHROMIUM, inPage } from './browser.test.util.js';
import { recordedVectors } from './bundle-run.js';
import { compile, verifyBundle } from './index.js';
import { addConv, workplace } from './networks.test.util.js';

if (!CHROMIUM) console.log('skipped: no Chromium in /usr/bin');
const temp = workplace();
afterAll(temp.dispose);
const BUNDLE = temp.path('bundle');

beforeAll(async () => {
  const rng = new Rng(3);
  const b = createBuilder('wide');
  const x = b.input('x', { dtype: 'f32', shape: [1, 3, 24, 24] });
  const first = b.add('relu', [addConv(b, rng, x, { channels: 3, outputs: 24, size: 3 })], {});
  const second = b.add('relu', [addConv(b, rng, first, { channels: 24, outputs: 24, size: 3, stride: 2 })], {});
  const y = b.add('add', [addConv(b, rng, second, { channels: 24, outputs: 24, size: 3 }), second], {}, { names: ['y'] });
  await compile(temp.model('wide', b.build([y])), { precision: 'w2a2', target: ['wasm-simd128'], threads: 2, output: BUNDLE });
});

/** Loads with and without threads; how many modules that are for threads were asked for, and what came out. */
const program = (from: string, recorded: Awaited<ReturnType<typeof recordedVectors>>): string => `
  import { load } from '${from}';
  const inputs = ${JSON.stringify(recorded.map((v) => toNumbers(v.inputs.get('x')!)))};
  const results = [];
  for (const threads of [true, false]) {
    const model = await load({ threads });
    for (let i = 0; i < 3; i++) results.push(inputs.map((x) => [...model.run({ x: Float32Array.from(x) }).y]));
    model.dispose();
  }`;

describe('--threads', () => {
  it('adds a module for each instruction set, which verification runs, too', async () => {
    const { modules } = (await openBundle(BUNDLE)).manifest.targets.wasm!;
    expect(modules.map((m) => [m.module, m.features, m.threads])).toEqual([
      ['model.simd128.threads.wasm', ['simd128', 'threads'], 2], ['model.wasm', ['simd128'], undefined],
    ]);
    expect(await verifyBundle(BUNDLE, { data: null, reference: 2, limit: null })).toMatchObject({ mismatches: 0, backends: ['reference', 'wasm', 'wasm, 2 threads'] });
  });

  it('gives the same results in Node by two threads as by one, and lets programs end', async () => {
    const recorded = await recordedVectors(await openBundle(BUNDLE));
    const script = temp.path('run.mjs');
    writeFileSync(script, `${program(pathToFileURL(join(BUNDLE, 'index.js')).href, recorded)}
      await load();
      console.log(JSON.stringify(results));`);
    const { stdout } = await promisify(execFile)(process.execPath, [script], { cwd: tmpdir(), timeout: 60_000, maxBuffer: 2 ** 28 });
    expect(JSON.parse(stdout)).toEqual(Array(6).fill(recorded.map((v) => toNumbers(v.outputs.get('y')!))));
  });

  it.skipIf(!CHROMIUM).each([[true], [false]])('gives the same results in a browser, page isolated: %s', async (isolated) => {
    const recorded = (await recordedVectors(await openBundle(BUNDLE))).slice(0, 1);
    const script = `
      const fetched = [];
      const { fetch } = globalThis;
      globalThis.fetch = (url, options) => (fetched.push(new URL(url, location).pathname), fetch(url, options));
      ${program('/index.js', recorded)}
      done({ results, fetched: fetched.filter((f) => f.endsWith('.wasm')) });`;
    const shown = (await inPage(BUNDLE, script, isolated)) as { results: number[][][]; fetched: string[] };
    expect(shown.fetched).toEqual([isolated ? '/model.simd128.threads.wasm' : '/model.wasm', '/model.wasm']);
    expect(shown.results).toEqual(Array(6).fill(recorded.map((v) => toNumbers(v.outputs.get('y')!))));
  });
});
