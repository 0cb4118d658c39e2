/** Bundles end to end: deterministic, right in Node and browsers, and tampering is found. */
import { execFile } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { NO_C_COMPILER, findCompiler } from '@bitloom/backend-c';
import { type Manifest, openBundle, sealManifest, sha256 } from '@bitloom/bundle';
import { type TensorMap, runProgram } from '@bitloom/kernel-spec';
import { createBuilder } from '@bitloom/ops';
import { Rng, readNpz, tensorOf, toNumbers, writeNpz } from '@bitloom/tensor';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { CHROMIUM, inPage } from './browser.test.util.js';
import { compileQuickly, enableRelaxed, random, tinyData, tinyNet, workplace } from './networks.test.util.js';
import { NO_RELAXED, recordedVectors, referenceProgram } from './bundle-run.js';
import { type VerifyReport, compile, runBundle, verifyBundle } from './index.js';

const cc = await findCompiler();
if (!cc) console.log(`skipped in part: ${NO_C_COMPILER}`);
const relaxed = enableRelaxed();
if (!relaxed) console.log(`skipped in part: ${NO_RELAXED}`);
const WASM = relaxed ? ['wasm', 'wasm-relaxed'] : ['wasm'];
const SKIPPED = relaxed ? [] : [`wasm-relaxed: ${NO_RELAXED}`];
if (!CHROMIUM) console.log('skipped: no Chromium in /usr/bin');

const temp = workplace();
compileQuickly(cc, temp);
const DATA = temp.data('data', tinyData(10));
const MODEL = temp.model('tiny', tinyNet());
const BUNDLE = temp.path('bundle');
const WASM_BUNDLE = temp.path('wasm-bundle');
const config = { calib: DATA, precision: 'w4a8' } as const;
beforeAll(async () => {
  await compile(MODEL, { ...config, target: ['wasm', 'c'], output: BUNDLE });
  await compile(MODEL, { ...config, output: WASM_BUNDLE });
});
afterAll(temp.dispose);
afterEach(() => vi.unstubAllEnvs());

const verify = (folder: string, data: string | null = null): Promise<VerifyReport> => verifyBundle(folder, { data, reference: 2, limit: null });
const coded = (code: string): unknown => expect.objectContaining({ code });
const filesOf = (folder: string): Map<string, Buffer> => {
  const manifest = JSON.parse(readFileSync(join(folder, 'manifest.json'), 'utf8')) as Manifest;
  return new Map([...Object.keys(manifest.files), 'manifest.json'].map((path) => [path, readFileSync(join(folder, path))]));
};

describe('a compiled bundle', () => {
  it('is the same, byte for byte, from any folder, and holds no path and no date', async () => {
    const other = mkdtempSync(join(tmpdir(), 'elsewhere-'));
    try {
      cpSync(MODEL, join(other, 'tiny.onnx'));
      cpSync(DATA, join(other, 'data.npz'));
      await compile(join(other, 'tiny.onnx'), { ...config, calib: join(other, 'data.npz'), target: ['wasm', 'c'], output: join(other, 'deep/out') });
      const [a, b] = [filesOf(BUNDLE), filesOf(join(other, 'deep/out'))];
      expect([...b.keys()]).toEqual([...a.keys()]);
      for (const [path, bytes] of a) expect(bytes.equals(b.get(path)!), path).toBe(true);
      for (const [path, bytes] of a) {
        for (const word of [temp.root, other, process.cwd(), homedir(), tmpdir()]) expect(word.length > 3 && bytes.includes(word), `${path} holds ${word}`).toBe(false);
        expect(bytes.toString('latin1')).not.toMatch(/\b20\d\d-[01]\d-[0-3]\d\b|\d\d:\d\d:\d\d/);
      }
      // A zip entry made at no time: 1980-01-01 00:00.
      const zip = a.get('reference/vectors.npz')!;
      expect([zip.readUInt16LE(10), zip.readUInt16LE(12)]).toEqual([0, 0x21]);
    } finally {
      rmSync(other, { recursive: true });
    }
  });

  it('verifies on recorded vectors and on data, layer by layer', async () => {
    const backends = ['reference', ...WASM, ...(cc ? ['c'] : [])];
    // This once optimised, as users have it.
    if (cc) vi.stubEnv('CC', cc);
    const report = await verify(BUNDLE);
    vi.unstubAllEnvs();
    expect(report).toMatchObject({ vectors: 3, mismatches: 0, firstMismatch: null, backends });
    expect(report.layers).toBe((await referenceProgram(await openBundle(BUNDLE))).calls.length);
    expect(await verify(BUNDLE, DATA)).toMatchObject({ vectors: cc ? 10 : 2, mismatches: 0, backends });
  });

  it('reports what the files are', async () => {
    const { manifest } = await openBundle(BUNDLE);
    const size = (path: string): number => manifest.files[path].bytes;
    expect(manifest.bytes.weights).toBe(size('weights.bin'));
    expect(manifest.bytes.code).toBe(size('model.wasm') + size('model.relaxed.wasm'));
    expect(manifest.targets.c!.codeBytes).toBe(size('c/model.c') + size('c/model.h'));
    expect(manifest.layers.map((l) => [l.weightBits, l.activationBits])).toEqual([[8, 8], [4, 8], [4, 8], [4, 8], [8, 8]]);
    expect(manifest.layers.map((l) => Object.keys(l.kernel))).toEqual(Array(5).fill(expect.arrayContaining(['wasm', 'wasm-relaxed', 'c'])));
    expect(manifest.cost.bops).toBe(manifest.layers.reduce((s, l) => s + l.macs * l.weightBits * l.activationBits, 0));
  });

  it('names its C files as the generated code does, whatever name was asked for', async () => {
    const folder = temp.path('named');
    await compile(MODEL, { precision: 'f32', target: ['c'], cName: '_float_', output: folder });
    const { targets, files } = (await openBundle(folder)).manifest;
    expect(targets.c).toMatchObject({ name: 'float_', codeBytes: files['c/float_.c'].bytes + files['c/float_.h'].bytes });
  });

  it('runs under plain Node from its folder alone, with the recorded outputs', async () => {
    const recorded = await recordedVectors(await openBundle(BUNDLE));
    const script = temp.path('run.mjs');
    writeFileSync(script, `
      import { load } from '${pathToFileURL(join(BUNDLE, 'index.js')).href}';
      const model = await load();
      console.log(JSON.stringify(${JSON.stringify(recorded.map((v) => toNumbers(v.inputs.get('x')!)))}.map((x) => [...model.run({ x: Float32Array.from(x) }).y])));`);
    const { stdout } = await promisify(execFile)(process.execPath, [script], { cwd: tmpdir() });
    expect(JSON.parse(stdout)).toEqual(recorded.map((v) => toNumbers(v.outputs.get('y')!)));
  });

  it.skipIf(!CHROMIUM)('runs in a browser, with the recorded outputs', async () => {
    const recorded = await recordedVectors(await openBundle(BUNDLE));
    const script = `
      import { load, outputs } from '/index.js';
      const model = await load();
      const runs = ${JSON.stringify(recorded.map((v) => toNumbers(v.inputs.get('x')!)))}.map((x) => [...model.run({ x: Float32Array.from(x) }).y]);
      done({ runs, shape: outputs.y.shape });`;
    expect(await inPage(BUNDLE, script)).toEqual({ runs: recorded.map((v) => toNumbers(v.outputs.get('y')!)), shape: [1, 4] });
  });
});

const MODULES: Readonly<Record<string, readonly (readonly string[])[] | undefined>> = {
  'wasm-scalar': [[]], 'wasm-simd128': [['simd128']], 'wasm-relaxed': [['simd128', 'relaxed-simd']], wasm: [['simd128', 'relaxed-simd'], ['simd128']],
};

describe('bundles of one target', () => {
  it.each([['wasm-scalar', ['model.wasm', 'index.js']], ['wasm-simd128', ['model.wasm', 'index.js']], ['c', ['c/model.c', 'c/model.h']]] as const)('%s', async (target, files) => {
    const folder = temp.path(`only-${target}`);
    const report = await compile(MODEL, { ...config, target: [target], output: folder });
    const held = [...filesOf(folder).keys()];
    expect(held).toEqual(expect.arrayContaining([...files]));
    expect(held.some((f) => (target === 'c' ? /wasm|index/ : /\.[ch]$/).test(f))).toBe(false);
    expect(report.targets).toEqual([target]);
    const ran = target !== 'c' ? ['wasm'] : cc ? ['c'] : [];
    expect(await verify(folder)).toMatchObject({ vectors: 3, mismatches: 0, backends: ['reference', ...ran], skipped: [target === 'c' ? 'wasm: the bundle holds no WebAssembly' : 'c: the bundle holds no C'] });
    // Only the reference can judge a single backend, so only what it runs counts.
    expect(await verify(folder, DATA)).toMatchObject({ vectors: 2, mismatches: 0 });
    expect((await openBundle(folder)).manifest.targets.wasm?.modules.map((m) => m.features)).toEqual(MODULES[target]);
  });

  it('wasm-relaxed: runs where the engine has relaxed SIMD, says so elsewhere', async () => {
    const folder = temp.path('only-relaxed');
    await compile(MODEL, { ...config, target: ['wasm-relaxed'], output: folder });
    expect((await openBundle(folder)).manifest.targets.wasm!.modules.map((m) => m.features)).toEqual(MODULES['wasm-relaxed']);
    const report = await verify(folder);
    if (relaxed) expect(report).toMatchObject({ mismatches: 0, backends: ['reference', 'wasm-relaxed'] });
    else {
      expect(report).toMatchObject({ mismatches: 0, backends: ['reference'], skipped: expect.arrayContaining(SKIPPED) });
      await expect(runBundle(folder, new Map([['x', random(new Rng(1), [1, 3, 9, 9])]]), 'wasm')).rejects.toThrow(coded('E603'));
    }
  });

  it('two WebAssembly targets in one bundle are refused, one target named twice is one', async () => {
    await expect(compile(MODEL, { ...config, target: ['wasm', 'wasm-scalar'] })).rejects.toThrow(coded('E103'));
    expect((await compile(MODEL, { precision: 'f32', target: ['wasm', 'wasm'] })).layers).toHaveLength(5);
  });

  it('without a C compiler the C part is skipped, with the reason', async () => {
    vi.stubEnv('PATH', '/nonexistent');
    vi.stubEnv('CC', '');
    expect(await verify(BUNDLE)).toMatchObject({ vectors: 3, mismatches: 0, backends: ['reference', ...WASM], skipped: [...SKIPPED, `c: ${NO_C_COMPILER}`] });
    await expect(runBundle(BUNDLE, new Map([['x', random(new Rng(1), [1, 3, 9, 9])]]), 'c')).rejects.toThrow(coded('E603'));
  });
});

describe('tampering that keeps the hashes consistent', () => {
  /** A copy with some files changed, and a manifest that says so. */
  async function tampered(edits: Readonly<Record<string, (bytes: Buffer) => Uint8Array>>, editManifest: (m: Manifest) => void = () => {}, from = WASM_BUNDLE): Promise<string> {
    const folder = join(mkdtempSync(join(temp.root, 'tampered-')), 'bundle');
    cpSync(from, folder, { recursive: true });
    const { checksum: _, ...manifest } = JSON.parse(readFileSync(join(folder, 'manifest.json'), 'utf8')) as Manifest;
    for (const [path, edit] of Object.entries(edits)) {
      const bytes = edit(readFileSync(join(folder, path)));
      writeFileSync(join(folder, path), bytes);
      manifest.files[path] = { bytes: bytes.length, sha256: sha256(bytes) };
    }
    editManifest(manifest as Manifest);
    writeFileSync(join(folder, 'manifest.json'), JSON.stringify(sealManifest(manifest)));
    return folder;
  }
  const flip = (at: number, mask = 1) => (bytes: Buffer): Buffer => {
    bytes[at] ^= mask;
    return bytes;
  };

  /** The third convolution: its call, and where its constants lie. */
  async function target(): Promise<{ call: number; node: string; weights: number; multiplier: Uint8Array }> {
    const bundle = await openBundle(BUNDLE);
    const program = await referenceProgram(bundle);
    const call = program.calls.flatMap((c, i) => (c.family === 'conv' ? [i] : []))[2];
    const { args, origin } = program.calls[call];
    const entry = (buffer: number): Manifest['reference']['table'][number] => bundle.manifest.reference.table.find((k) => k.buffer === buffer)!;
    const raw = await bundle.read(bundle.manifest.reference.constants);
    const { offset, bytes } = entry(args[2]);
    const at = offset - bundle.manifest.files['weights.bin'].bytes;
    return { call, node: origin, weights: entry(args[1]).offset, multiplier: raw.slice(at, at + bytes) };
  }

  it('an edited weight diverges from the C code in its layer, and from the recorded outputs', async () => {
    const t = await target();
    // The most significant plane of the first row: every value changes by 8 steps.
    const folder = await tampered({ 'weights.bin': (b) => b.fill(b[t.weights + 3] ^ 0x3f, t.weights + 3, t.weights + 4) }, undefined, BUNDLE);
    const report = await verify(folder);
    expect(report.mismatches).toBeGreaterThan(0);
    expect(report.firstMismatch).toMatchObject(cc ? { vector: 0, backend: 'c', layer: t.call, node: t.node } : { vector: 0, backend: 'reference', node: 'y' });
  });

  it('an edited constant of the module diverges in its layer', async () => {
    const t = await target();
    const folder = await tampered({ 'model.wasm': (b) => flip(b.indexOf(t.multiplier) + 3, 0x02)(b) });
    expect(await verify(folder)).toMatchObject({ firstMismatch: { vector: 0, backend: 'wasm', layer: t.call, node: t.node } });
    expect((await verify(folder, DATA)).mismatches).toBeGreaterThan(0);
  });

  it.skipIf(!cc)('an edited weight of the C code diverges in a layer', async () => {
    const folder = await tampered({ 'c/weights.c': (b) => Buffer.from(b.toString().replace(/(\{\s*)(0x[0-9a-f]+|\d+)/i, (_, open: string, first: string) => `${open}${Number(first) ^ 0x80}`)) }, undefined, BUNDLE);
    expect((await verify(folder)).firstMismatch).toMatchObject({ vector: 0, backend: 'c', layer: expect.any(Number) });
  });

  it('an edited output of a recorded vector is found', async () => {
    const folder = await tampered({
      'reference/vectors.npz': (b) => {
        const arrays = readNpz(b);
        (arrays.get('out/y')!.data as Float32Array)[6] += 1;
        return writeNpz(arrays);
      },
    });
    expect(await verify(folder)).toMatchObject({ mismatches: 1, firstMismatch: { vector: 1, backend: 'reference', layer: null, node: 'y', index: 2 } });
  });

  /** Changes a JSON file. */
  const edit = (f: (json: Record<string, never>) => void) => (b: Buffer): Buffer => {
    const json = JSON.parse(b.toString());
    f(json);
    return Buffer.from(JSON.stringify(json));
  };
  const hostile: readonly (readonly [string, Readonly<Record<string, (b: Buffer) => Uint8Array>>, (m: Manifest) => void])[] = [
    ['a module cut short', { 'model.wasm': (b) => b.subarray(0, b.length / 2) }, () => {}],
    ['a module that exports nothing', { 'model.wasm': () => Buffer.from([0, 0x61, 0x73, 0x6d, 1, 0, 0, 0]) }, () => {}],
    ['no JSON as program', { 'reference/program.json': (b) => b.subarray(1) }, () => {}],
    ['null as program', { 'reference/program.json': () => Buffer.from('null') }, () => {}],
    ['a program with another input', { 'reference/program.json': edit((p) => void ((p.inputs as unknown as [string][])[0][0] = 'z')) }, () => {}],
    ['a program with a call less', { 'reference/program.json': edit((p) => void (p.calls as unknown[]).splice(0, 1)) }, () => {}],
    ['addresses of fewer calls', {}, (m) => void m.targets.wasm!.modules[0].results.pop()],
    ['an output beyond memory', {}, (m) => void (m.targets.wasm!.modules.at(-1)!.outputs[0] = 2 ** 32)],
    ['weights beyond memory', {}, (m) => void (m.targets.wasm!.modules.at(-1)!.weightsBase = 2 ** 31)],
    ['an input of 2^160 elements', {}, (m) => void (m.inputs[0].shape = [2 ** 40, 2 ** 40, 2 ** 40, 2 ** 40])],
    ['a constant beyond its file', {}, (m) => void (m.reference.table[0].offset = 2 ** 40)],
    ['a raw constant before its file', {}, (m) => void (m.reference.table.find((k) => k.packing === 'raw')!.offset = 0)],
    ['a constant without a place', {}, (m) => void m.reference.table.splice(1, 1)],
    ['a weight matrix of 2^80 elements', {}, (m) => void Object.assign(m.reference.table[0], { rows: 2 ** 40, k: 2 ** 40 })],
    ['a weight matrix of other widths', {}, (m) => void (m.reference.table.find((k) => k.packing === 'planes')!.bits = 3)],
    ['weights packed as floats', {}, (m) => void (m.reference.table[0].packing = 'f32')],
    ['empty weights', { 'weights.bin': () => Buffer.alloc(0) }, () => {}],
  ];
  it.each(hostile)('%s: E701', async (_, edits, manifest) => {
    await expect(verify(await tampered(edits, manifest))).rejects.toThrow(coded('E701'));
  });
});

describe('verification', () => {
  it('counts NaNs as equal and tells −0 from 0', async () => {
    const b = createBuilder('nan');
    const x = b.input('x', { dtype: 'f32', shape: [1, 8] });
    const y = b.add('sqrt', [x], {}, { names: ['y'] });
    const z = b.add('mul', [x, b.const(tensorOf('f32', [], [0]), 'zero')], {}, { names: ['z'] });
    const folder = temp.path('nan-bundle');
    await compile(temp.model('nan', b.build([y, z])), { precision: 'f32', target: ['wasm', 'c'], output: folder });
    expect(await verify(folder)).toMatchObject({ vectors: 3, mismatches: 0 });
    const out = await runBundle(folder, new Map([['x', tensorOf('f32', [1, 8], [-1, 0, -0, 1, 4, NaN, Infinity, -2])]]));
    expect(toNumbers(out.get('y')!)).toEqual([NaN, 0, -0, 1, 2, NaN, Infinity, NaN]);
    expect(toNumbers(out.get('z')!)).toEqual([-0, 0, -0, 0, 0, NaN, NaN, -0]);
  });

  it('fills the last batch up, so that no sample is left out', async () => {
    const b = createBuilder('batch');
    const x = b.input('x', { dtype: 'f32', shape: [4, 3] });
    const folder = temp.path('batch-bundle');
    await compile(temp.model('batch', b.build([b.add('exp', [x], {}, { names: ['y'] })])), { precision: 'f32', output: folder });
    const data = temp.data('six', { x: random(new Rng(2), [6, 3]) });
    expect(await verifyBundle(folder, { data, reference: 9, limit: null })).toMatchObject({ vectors: 2, mismatches: 0 });
    expect(await verifyBundle(folder, { data, reference: 9, limit: 3 })).toMatchObject({ vectors: 1, mismatches: 0 });
  });

  it('runs a bundle as its reference does', async () => {
    const program = await referenceProgram(await openBundle(BUNDLE));
    const inputs: TensorMap = new Map([['x', random(new Rng(5), [1, 3, 9, 9])]]);
    const expected = runProgram(program, inputs);
    for (const target of ['wasm', 'reference', ...(cc ? ['c' as const] : [])] as const) expect(await runBundle(BUNDLE, inputs, target)).toEqual(expected);
  });
});
