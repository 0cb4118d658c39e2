import { execFile } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { ModuleKind, ModuleResolutionKind, Project, ScriptTarget } from 'ts-morph';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { type ModelSpec, computesRelaxed, instantiate, supports } from '@bitloom/runtime';
import { writeFolder, writeLoader } from './index.js';
import { SPEC, WASM, WEIGHTS, bundleFiles, temporaryFolder } from './bundle.test.util.js';

const temp = temporaryFolder();
const FOLDER = temp.path('bundle');
beforeAll(() => writeFolder(FOLDER, bundleFiles()));
afterAll(temp.dispose);

const intBits = (v: number): number => new Int32Array(Float32Array.of(v).buffer)[0];

/** What a module prints as JSON under plain Node; `$BUNDLE` stands for the loader's address. */
async function inNode(body: string): Promise<unknown> {
  const file = temp.path('script.mjs');
  writeFileSync(file, body.replace('$BUNDLE', pathToFileURL(`${FOLDER}/index.js`).href));
  const { stdout } = await promisify(execFile)(process.execPath, [file], { cwd: temp.root });
  return JSON.parse(stdout);
}

describe('the loader in Node', () => {
  it('runs from any folder, twice with fresh results', async () => {
    const value = await inNode(`
      import { inputs, load, outputs } from '$BUNDLE';
      const model = await load();
      const first = model.run({ x: Float32Array.of(1, 2) });
      const second = model.run({ x: Float32Array.of(-3, 0.25) });
      console.log(JSON.stringify({ inputs, outputs, first, second: [...second.y], types: Object.values(first).map((a) => a.constructor.name), y: [...first.y], z: [...first['odd name/0']] }));`);
    expect(value).toMatchObject({
      inputs: { x: { dtype: 'f32', shape: [1, 2] } },
      outputs: { y: { dtype: 'f32', shape: [1, 2] }, 'odd name/0': { dtype: 'i32', shape: [2] } },
      types: ['Float32Array', 'Int32Array'], y: [2.5, 4.5], z: [intBits(1), intBits(2)], second: [-5.5, 1],
    });
  });

  it('takes the module and the weights from elsewhere, in every form', async () => {
    const value = await inNode(`
      import { readFileSync } from 'node:fs';
      import { load } from '$BUNDLE';
      const wasm = readFileSync(new URL('model.wasm', '$BUNDLE'.length ? new URL('${pathToFileURL(FOLDER).href}/') : ''));
      const weights = Float32Array.of(10);
      const padded = new Float32Array([0, 10, 0]);
      const forms = [
        { wasm, weights: weights.buffer }, { wasm: new Uint8Array(wasm).buffer, weights: new Uint8Array(weights.buffer) },
        { wasm: await WebAssembly.compile(wasm), weights: new Uint8Array(padded.buffer, 4, 4) },
        { wasm: new Response(wasm, { headers: { 'content-type': 'application/octet-stream' } }), weights: Buffer.from(weights.buffer) },
      ];
      const results = [];
      for (const sources of forms) results.push([...(await load(sources)).run({ x: Float32Array.of(1, 2) }).y]);
      console.log(JSON.stringify(results));`);
    expect(value).toEqual(Array(4).fill([12, 14]));
  });
});

describe('runtime', () => {
  const files = { wasm: [new URL('file:///nowhere/model.wasm')], weights: new URL('file:///nowhere/weights.bin') };
  const model = instantiate(SPEC, files, { wasm: WASM, weights: WEIGHTS });

  it.each([
    ['a missing input', {}],
    ['too few elements', { x: new Float32Array(1) }],
    ['too many elements', { x: new Float32Array(3) }],
    ['another type', { x: new Float64Array(2) }],
    ['a plain array', { x: [1, 2] }],
    ['bytes', { x: new Uint8Array(2) }],
    ['null', { x: null }],
    ['an impostor', { x: { constructor: { name: 'Float32Array' }, length: 2 } }],
  ])('refuses %s with a TypeError that says what it wants', async (_, inputs) => {
    const m = await model;
    expect(() => m.run(inputs as never)).toThrow(new TypeError('input x must be a Float32Array of 2 elements [1, 2]'));
  });

  it('takes subclasses and arrays over shared buffers', async () => {
    class Mine extends Float32Array {}
    const m = await model;
    expect([...m.run({ x: Mine.of(1, 1) }).y]).toEqual([2.5, 2.5]);
    expect([...m.run({ x: new Float32Array(new SharedArrayBuffer(8)) }).y]).toEqual([0.5, 0.5]);
    expect([...m.run({ x: Float32Array.of(1, 1), more: new Uint8Array(1) }).y]).toEqual([2.5, 2.5]);
  });

  it('leaves inputs as they were, and results of earlier runs', async () => {
    const m = await model;
    const x = Float32Array.of(3, 4);
    const first = m.run({ x });
    m.run({ x: Float32Array.of(0, 0) });
    expect([[...x], [...first.y]]).toEqual([[3, 4], [6.5, 8.5]]);
  });

  it.each([0, 3, 5, 4096])('refuses weights of %i bytes', async (n) => {
    await expect(instantiate(SPEC, files, { wasm: WASM, weights: new Uint8Array(n) })).rejects.toThrow(`weights are ${n} bytes, expected 4`);
  });

  it('rejects where a file is missing or is no module', async () => {
    await expect(instantiate(SPEC, files, { weights: WEIGHTS })).rejects.toThrow('model.wasm');
    await expect(instantiate(SPEC, files, { wasm: WASM.subarray(0, 20), weights: WEIGHTS })).rejects.toThrow(WebAssembly.CompileError);
  });
});

describe('the choice of a module', () => {
  const [plain] = SPEC.modules;
  const modules: ModelSpec['modules'] = [{ ...plain, file: 'fast.wasm', features: ['simd128', 'relaxed-simd'] }, plain];
  const files = { wasm: [new URL('file:///nowhere/fast.wasm'), new URL('file:///nowhere/model.wasm')], weights: new URL('file:///nowhere/weights.bin') };
  const spec = { ...SPEC, modules };
  const best = supports(['relaxed-simd']) ? 'fast.wasm' : 'model.wasm';

  it('asks for one module only, the best that the engine computes right', async () => {
    const asked: string[] = [];
    const give = (file: string): Uint8Array<ArrayBuffer> => (asked.push(file), WASM);
    const model = await instantiate(spec, files, { wasm: give, weights: WEIGHTS });
    expect([...model.run({ x: Float32Array.of(1, 2) }).y]).toEqual([2.5, 4.5]);
    expect(asked).toEqual([best]);
    await expect(instantiate(spec, files, { weights: WEIGHTS })).rejects.toThrow(best);
  });

  it('takes a module that is given for the plainest one', async () => {
    const wrong = { ...modules[0], inputs: [4096 * 16] };
    const model = await instantiate({ ...spec, modules: [wrong, plain] }, files, { wasm: WASM, weights: WEIGHTS });
    expect([...model.run({ x: Float32Array.of(1, 2) }).y]).toEqual([2.5, 4.5]);
  });
});

describe('what engines make of relaxed SIMD', () => {
  /** An engine that has it and computes it, but for what `spoil` changes in the results. */
  function engine(spoil: (results: DataView) => void): boolean {
    const memory = new WebAssembly.Memory({ initial: 1 });
    const [u, s] = [new Uint8Array(memory.buffer), new Int8Array(memory.buffer)];
    const view = new DataView(memory.buffer);
    const f = (): void => {
      const pair = (i: number): number => s[32 + 2 * i] * u[48 + 2 * i] + s[33 + 2 * i] * u[49 + 2 * i];
      for (let i = 0; i < 16; i++) u[80 + i] = u[u[16 + i]];
      for (let i = 0; i < 8; i++) view.setInt16(96 + 2 * i, pair(i), true);
      for (let i = 0; i < 4; i++) view.setInt32(112 + 4 * i, view.getInt32(64 + 4 * i, true) + pair(2 * i) + pair(2 * i + 1), true);
      spoil(new DataView(memory.buffer, 80, 48));
    };
    vi.stubGlobal('WebAssembly', { validate: () => true, Module: class {}, Instance: class { exports = { m: memory, f }; } });
    try {
      return computesRelaxed();
    } finally {
      vi.unstubAllGlobals();
    }
  }

  it('accepts what follows the specification', () => expect(engine(() => {})).toBe(true));
  it.each([0, 15, 16, 31, 32, 47])('refuses a wrong byte %i', (at) => {
    expect(engine((r) => r.setUint8(at, r.getUint8(at) ^ 1))).toBe(false);
  });
  it('refuses products that are only wrong at extremes', () => {
    const saturate = (r: DataView): void => [...Array(8).keys()].forEach((i) => r.setInt16(16 + 2 * i, Math.max(r.getInt16(16 + 2 * i, true), -32511), true));
    expect(engine(saturate)).toBe(false);
  });
});

describe('index.d.ts', () => {
  const consumer = `
    import { type Inputs, type Model, type Outputs, inputs, load, outputs } from './index.js';
    export const shape: readonly [1, 2] = inputs.x.shape;
    export const dtype: 'i32' = outputs['odd name/0'].dtype;
    export async function use(): Promise<Int32Array> {
      const model: Model = await load();
      await load({ wasm: new Uint8Array(8), weights: new ArrayBuffer(4) });
      await load({ wasm: (file: string) => new Uint8Array(file.length) });
      const given: Inputs = { x: new Float32Array(2) };
      const out: Outputs = model.run(given);
      const y: Float32Array = out.y;
      // @ts-expect-error: another shape
      const wrong: readonly [1, 3] = inputs.x.shape;
      // @ts-expect-error: an input is missing
      model.run({});
      // @ts-expect-error: another type
      model.run({ x: new Float64Array(2) });
      // @ts-expect-error: no such output
      out.z;
      // @ts-expect-error: read only
      out.y = y;
      // @ts-expect-error: an address is no module
      await load({ wasm: 'model.wasm' });
      // @ts-expect-error: weights are bytes
      await load({ weights: [1, 2] });
      return wrong ? out['odd name/0'] : out['odd name/0'];
    }`;

  it.each([['servers', ['lib.es2022.d.ts']], ['browsers', ['lib.es2022.d.ts', 'lib.dom.d.ts']]])('type-checks strictly for %s, with literal shapes', (_, lib) => {
    const project = new Project({
      useInMemoryFileSystem: true,
      compilerOptions: { strict: true, lib, types: [], target: ScriptTarget.ES2022, module: ModuleKind.NodeNext, moduleResolution: ModuleResolutionKind.NodeNext, skipLibCheck: false },
    });
    project.createSourceFile('/package.json.ts', '');
    project.getFileSystem().writeFileSync('/package.json', '{"type":"module"}');
    project.createSourceFile('/index.d.ts', bundleFiles().get('index.d.ts') as string);
    project.createSourceFile('/consumer.ts', consumer);
    expect(project.getPreEmitDiagnostics().map((d) => `${d.getSourceFile()?.getBaseName()}: ${JSON.stringify(d.getMessageText())}`)).toEqual([]);
  });
});

describe('writeLoader', () => {
  it('is deterministic, and imports nothing but its own files', () => {
    const [a, b] = [0, 1].map(() => [...writeLoader('m', SPEC, 'weights.bin')]);
    expect(a).toEqual(b);
    expect(a.map(([path]) => path)).toEqual(['index.js', 'index.d.ts', 'runtime.js', 'package.json']);
    const text = new Map(a);
    expect([...text.get('index.js')!.matchAll(/(?:from|import\() *["'](.*?)["']/g)].map((m) => m[1])).toEqual(['./runtime.js']);
    expect([...text.get('runtime.js')!.matchAll(/^import|from +["']/gm)]).toEqual([]);
    // Bundlers must leave the import of node:fs alone.
    expect(text.get('runtime.js')).toContain('@vite-ignore');
  });
  it.each([['Tiny Net é', 'tiny-net-'], ['résumé.v2', 'r-sum-.v2'], ['../..', 'model'], ['', 'model'], ['_x', 'x'], ['a'.repeat(300), 'a'.repeat(214)]])('makes of %j a package name', (name, expected) => {
    expect(JSON.parse(writeLoader(name, SPEC, 'weights.bin').get('package.json')!)).toMatchObject({ name: expected, type: 'module', exports: { '.': { types: './index.d.ts', default: './index.js' } } });
  });
});
