import { createHash } from 'node:crypto';
import { cpSync, existsSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { exportOnnx } from '@bitloom/onnx';
import { readNpy, readNpz, tensor, tensorOf, toNumbers, writeNpy, writeNpz } from '@bitloom/tensor';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { external, input, model, node, output, weights } from './bad-models.test.util.js';
import { CONTRACTS, breaches } from './contracts.js';
import { INTERRUPTED, main } from './main.js';
import { bitloom, json, tinyFolder, tinyGraph } from './tiny.test.util.js';

const folder = tinyFolder();
const MODEL = folder.path('model.onnx');
const DATA = folder.path('data.npz');
const BUNDLE = folder.path('bundle');
const CALIBRATED = ['--calib', DATA, '--budget', 'bits=4', '--free-ends'];
const compiled = { code: -1, value: {} as never as Awaited<ReturnType<typeof json>>['value'] & Record<string, unknown>, err: '' };

beforeAll(async () => Object.assign(compiled, await json('compile', MODEL, ...CALIBRATED, '--target', 'wasm', '--target', 'c', '-o', BUNDLE)));
afterAll(folder.dispose);

const filesOf = (dir: string): Map<string, string> =>
  new Map(readdirSync(dir, { recursive: true, withFileTypes: true }).filter((f) => f.isFile()).map((f) => join(f.parentPath, f.name)).sort().map((f) => [f.slice(dir.length), readFileSync(f).toString('hex')]));

/** Nothing at `path`, and nothing half-written beside it. */
function expectNothingAt(path: string): void {
  const beside = existsSync(dirname(path)) ? readdirSync(dirname(path)) : [];
  expect(beside.filter((name) => name.startsWith(basename(path)))).toEqual([]);
}

describe('help', () => {
  test.each([['--help'], ['help']])('bitloom %s names every verb and the exit codes', async (flag) => {
    const { code, out, err } = await bitloom(flag);
    expect([code, err]).toEqual([0, '']);
    for (const word of ['compile', 'search', 'eval', 'verify', 'bench', 'inspect', 'run', 'Exit codes', '130']) expect(out).toContain(word);
  });

  test('help of a verb has examples and defaults', async () => {
    const { code, out } = await bitloom('help', 'compile');
    expect(code).toBe(0);
    expect(out).toMatch(/Examples:\n {2}bitloom compile/);
    expect(out).toContain('(default: 1024)');
    expect((await bitloom('compile', '--help')).out).toBe(out);
  });

  test('--version', async () => expect((await bitloom('--version')).out).toMatch(/^\d+\.\d+\.\d+\n$/));
});

describe('usage errors exit with 2', () => {
  test.each([
    [['compil', 'x.onnx'], 'unknown command', 'did you mean compile?'],
    [['compile', 'x.onnx', '--bugdet', 'bits=4'], 'unknown option', 'did you mean --budget?'],
    [['compile'], 'missing required argument', null],
    [['compile', 'a.onnx', 'b.onnx'], 'too many arguments', null],
    [['eval', 'x.onnx'], '--data', null],
    [['compile', 'x.onnx', '--calib'], 'argument missing', null],
    [[], 'no verb', 'see bitloom --help'],
    [['--frobnicate'], 'unknown option', null],
  ])('%j', async (argv, message, remedy) => {
    const { code, out, err } = await bitloom(...argv);
    expect([code, out]).toEqual([2, '']);
    expect(err).toMatch(/^E101: /);
    expect(err).toContain(message);
    if (remedy) expect(err).toContain(remedy);
  });

  test.each([
    ['--weights', '2,9'], ['--weights', ''], ['--samples', '0'], ['--samples', '1.5'], ['--define', 'batch'], ['--define', 'batch=0'], ['--mean', '0.5,x'], ['--scale', '1/0'], ['--std', '0'],
    ['--calibration', 'mxe'], ['--layout', 'nwhc'], ['--target', 'wsam'], ['--strategy', 'mkcp'], ['--print-ir-after', 'simplfy'], ['--stop-after', 'done'], ['--budget', 'bits=-4'], ['--budget', 'size'],
    ['--precision', 'w9a8'], ['--percentile', '10'], ['--c-name', '1x'],
  ])('%s %j', async (flag, value) => {
    const { code, value: printed } = await json('compile', MODEL, flag, value, '-o', folder.path('no'));
    expect(printed.error!.code).toBe('E101');
    expect(code).toBe(2);
    expectNothingAt(folder.path('no'));
  });

  test('near misses of values are named', async () => expect((await json('compile', MODEL, '--calibration', 'entopy')).value.error!.remedy).toBe('did you mean entropy?'));

  test.each([
    [['--precision', 'w4a8', '--budget', 'bits=4'], 'exclude'],
    [['--assignment', 'a.json', '--budget', 'bits=4'], 'assignment'],
    [['--strategy', 'mckp'], 'budget'],
    [['-q', '-v'], 'exclude'],
  ])('conflict: %j', async (flags, word) => {
    const { code, value } = await json('compile', MODEL, '--samples', '2', ...flags);
    expect([code, value.error!.code]).toEqual([2, 'E103']);
    expect(value.error!.message).toContain(word);
  });
});

describe('failures', () => {
  test('--json prints one object with all six fields, and the text goes to stderr', async () => {
    const { code, value, err } = await json('inspect', folder.path('absent.onnx'));
    expect(code).toBe(1);
    expect(breaches(CONTRACTS.error, value)).toEqual([]);
    expect(value.error).toMatchObject({ code: 'E704', node: folder.path('absent.onnx'), found: 'ENOENT', remedy: 'check the path' });
    expect(err).toMatch(/^E704: /);
  });

  test('--stack prints where, only when asked', async () => {
    expect((await bitloom('inspect', folder.path('absent.onnx'))).err).not.toContain('    at ');
    expect((await bitloom('inspect', folder.path('absent.onnx'), '--stack')).err).toContain('    at ');
  });

  const good = exportOnnx(tinyGraph());
  const head = [input('x', [1, 4]), output('y', [1, 4])];
  const square = Float32Array.from({ length: 16 }, (_, i) => i);
  writeFileSync(folder.path('short.bin'), new Uint8Array(7));
  const models: readonly (readonly [string, Uint8Array, string])[] = [
    ['truncated protobuf', good.slice(0, good.length / 2), 'E201'],
    ['wrong magic', new TextEncoder().encode('PK\x03\x04 this is a zip file'), 'E201'],
    ['empty file', new Uint8Array(0), 'E201'],
    ['cyclic graph', model(...head, node('Add', ['x', 'b'], 'a'), node('Relu', ['a'], 'b'), node('Relu', ['b'], 'y')), 'E207'],
    ['shape mismatch', model(...head, weights('w', [3, 3], square.slice(0, 9)), node('MatMul', ['x', 'w'], 'y')), 'E204'],
    ['external data that climbs out', model(...head, external('w', [4, 4], '../outside.bin'), node('MatMul', ['x', 'w'], 'y')), 'E203'],
    ['external data too short', model(...head, external('w', [4, 4], 'short.bin'), node('MatMul', ['x', 'w'], 'y')), 'E203'],
    ['dimension of 2^40', model(input('x', [1, 2 ** 40]), output('y', [1, 2 ** 40]), node('Relu', ['x'], 'y')), 'E206'],
    ['graph without outputs', model(head[0], node('Relu', ['x'], 'y')), 'E207'],
    ['batches of 0 samples', model(input('x', [0, 4]), output('y', [0, 4]), node('Relu', ['x'], 'y')), 'E204'],
    ['NaN weights', exportOnnx(tinyGraph((w) => void (w[3] = NaN))), 'E208'],
  ];
  test.each(models)('%s', async (name, bytes, code) => {
    const file = folder.path(`${name.replace(/\W/g, '_')}.onnx`);
    writeFileSync(file, bytes);
    const { code: exit, value } = await json('compile', file, '--precision', 'f32', '-o', folder.path('no'));
    expect([exit, value.error!.code]).toEqual([1, code]);
    expect(value.error!.message).not.toBe('');
    expectNothingAt(folder.path('no'));
  });

  test('unsupported operators are listed all at once, by name and op', async () => {
    const file = folder.path('unknown.onnx');
    writeFileSync(file, model(...head, node('Frobnicate', ['x'], 'a', 'first'), node('Relu', ['a'], 'b'), node('Transmogrify', ['b'], 'y', 'second')));
    const { code, value } = await json('compile', file, '-o', folder.path('no'));
    expect([code, value.error!.code]).toEqual([1, 'E202']);
    for (const word of ['first', 'Frobnicate', 'second', 'Transmogrify']) expect(JSON.stringify(value.error)).toContain(word);
  });

  test('data of the wrong shape, and empty data', async () => {
    const file = folder.path('bad.npz');
    writeFileSync(file, writeNpz(new Map([['x', tensor('f32', [4, 3, 8, 7], new Float32Array(4 * 3 * 56))]])));
    expect((await json('compile', MODEL, '--calib', file, '-o', folder.path('no'))).value.error).toMatchObject({ code: 'E302', found: '[4, 3, 8, 7]', expected: '[N, 3, 8, 8]' });
    writeFileSync(file, writeNpz(new Map([['x', tensor('f32', [0, 3, 8, 8], new Float32Array(0))]])));
    expect((await json('compile', MODEL, '--calib', file, '-o', folder.path('no'))).value.error!.code).toBe('E303');
    mkdirSync(folder.path('images'), { recursive: true });
    expect((await json('compile', MODEL, '--calib', `images:${folder.path('images')}`, '-o', folder.path('no'))).value.error!.code).toBe('E303');
    expectNothingAt(folder.path('no'));
  });

  test('an infeasible budget exits with 3 and names the smallest feasible one, which is', async () => {
    const options = ['compile', MODEL, '--calib', DATA, '--samples', '8', '-o', folder.path('no')];
    const { code, value } = await json(...options, '--budget', 'size=100B');
    expect([code, value.error!.code]).toEqual([3, 'E501']);
    const least = /size=\d+B/.exec(value.error!.expected!)![0];
    expectNothingAt(folder.path('no'));
    const again = await json(...options.slice(0, -2), '--budget', least);
    expect(again.code).toBe(0);
    expect((await json(...options, '--budget', `size=${Number(least.slice(5, -1)) - 1}B`)).code).toBe(3);
  });

  test('output that cannot be written', async () => {
    writeFileSync(folder.path('file'), 'kept');
    mkdirSync(folder.path('precious'), { recursive: true });
    writeFileSync(folder.path('precious/thesis.tex'), 'kept');
    for (const place of ['file/below', 'file', 'precious']) {
      const { code, value } = await json('compile', MODEL, '--precision', 'f32', '-o', folder.path(place));
      expect([code, value.error!.code]).toEqual([1, 'E703']);
    }
    expect(readFileSync(folder.path('precious/thesis.tex'), 'utf8')).toBe('kept');
    expect((await json('run', BUNDLE, '--input', vectorInput(), '-o', folder.path('file/y.npy'))).value.error!.code).toBe('E703');
    expect(readdirSync(folder.path('.')).filter((n) => /\.(tmp|old)$/.test(n))).toEqual([]);
  });

  test('assignments that do not fit', async () => {
    const file = folder.path('bad.assignment.json');
    for (const text of ['{', 'null', '{"version":1}', '{"version":1,"layers":{"ghost":{"weights":4}},"activations":{}}', '{"version":1,"layers":{},"activations":{}}']) {
      writeFileSync(file, text);
      const { code, value } = await json('compile', MODEL, '--calib', DATA, '--samples', '4', '--assignment', file);
      expect([code, value.error!.code], text).toEqual([1, 'E502']);
    }
    expect((await json('compile', MODEL, '--calib', DATA, '--samples', '4', '--pin', 'ghost=w4')).value.error!.code).toBe('E502');
  });

  test.each([
    ['weights.bin', (f: Buffer) => (f[5] ^= 1, f)],
    ['model.wasm', (f: Buffer) => f.subarray(0, f.length - 4)],
    ['manifest.json', (f: Buffer) => f.subarray(0, f.length / 2)],
    ['manifest.json', (f: Buffer) => Buffer.from(f.toString().replace(/"schemaVersion": \d+/, '"schemaVersion": 99'))],
    ['manifest.json', (f: Buffer) => Buffer.from(f.toString().replace('"weights.bin"', '"../weights.bin"'))],
    ['reference/program.json', () => null],
  ])('corrupted bundle: %s', async (name, damage) => {
    const broken = folder.path('broken');
    rmSync(broken, { recursive: true, force: true });
    cpSync(BUNDLE, broken, { recursive: true });
    const bytes = damage(readFileSync(join(broken, name)));
    if (bytes) writeFileSync(join(broken, name), bytes);
    else rmSync(join(broken, name));
    for (const argv of [['verify', broken], ['inspect', broken], ['run', broken, '--input', vectorInput()], ['eval', broken, '--data', DATA]]) {
      const { code, value } = await json(...argv);
      expect([code, value.error!.code], argv[0]).toEqual([1, 'E701']);
    }
  });

  test('a folder that is no bundle', async () => expect((await json('verify', dirname(BUNDLE))).value.error!.code).toBe('E704'));
});

/** The first recorded input as a .npy file. */
function vectorInput(): string {
  const file = folder.path('x.npy');
  const all = readNpz(readFileSync(join(BUNDLE, 'reference/vectors.npz'))).get('in/x')!;
  writeFileSync(file, writeNpy(tensor('f32', all.shape.slice(1), all.data.slice(0, 192))));
  return file;
}

describe('end to end', () => {
  test('compile keeps its contract and the budget', () => {
    expect(compiled.code).toBe(0);
    const r = compiled.value as never as Record<string, never>;
    expect(breaches(CONTRACTS.compile, r)).toEqual([]);
    expect(r).toMatchObject({ bundle: BUNDLE, targets: ['wasm', 'c'], float: { weightBytes: 4 * 824 }, search: { strategy: 'mckp', gap: 0 }, budget: { kind: 'bits' }, warnings: [] });
    const { bits, layers, bytes, cost } = r as never as { bits: { weights: number }; bytes: { weights: number }; cost: { bops: number }; layers: { macs: number; params: number; weightBits: number; activationBits: number }[] };
    expect(layers.map((l) => l.macs)).toEqual([13824, 36864, 32]);
    expect(bits.weights).toBeLessThanOrEqual(4);
    expect(bits.weights).toBeCloseTo(layers.reduce((s, l) => s + l.params * l.weightBits, 0) / 824, 10);
    expect(cost.bops).toBe(layers.reduce((s, l) => s + l.macs * l.weightBits * l.activationBits, 0));
    expect(bytes.weights).toBeLessThan(4 * 824 / 4);
  });

  test('two compilations are identical byte for byte', async () => {
    await bitloom('compile', MODEL, ...CALIBRATED, '--target', 'wasm', '--target', 'c', '-o', folder.path('again'));
    const [a, b] = [filesOf(BUNDLE), filesOf(folder.path('again'))];
    expect([...b.keys()]).toEqual([...a.keys()]);
    for (const [name, bytes] of a) expect(b.get(name) === bytes, name).toBe(true);
  });

  test('verify: WebAssembly, C and the reference agree on the recorded vectors and on data', async () => {
    const { code, value } = await json('verify', BUNDLE);
    expect(breaches(CONTRACTS.verify, value)).toEqual([]);
    expect([code, value]).toMatchObject([0, { vectors: 3, mismatches: 0, firstMismatch: null }]);
    expect((await json('verify', BUNDLE, '--data', DATA, '--samples', '20', '--reference', '2')).value).toMatchObject({ vectors: 20, mismatches: 0 });
  });

  test('verify exits with 4 when the module computes something else, and still reports', async () => {
    const other = folder.path('other');
    await bitloom('compile', MODEL, '--calib', DATA, '--samples', '8', '--precision', 'w8a8', '-o', other);
    // The recorded outputs of one network beside the module of another, hashes made to fit.
    const vectors = 'reference/vectors.npz';
    cpSync(join(BUNDLE, vectors), join(other, vectors));
    const { checksum: _, ...manifest } = JSON.parse(readFileSync(join(other, 'manifest.json'), 'utf8'));
    manifest.files[vectors] = JSON.parse(readFileSync(join(BUNDLE, 'manifest.json'), 'utf8')).files[vectors];
    const checksum = createHash('sha256').update(JSON.stringify(manifest)).digest('hex');
    writeFileSync(join(other, 'manifest.json'), JSON.stringify({ ...manifest, checksum }));
    const { code, value, err } = await json('verify', other);
    expect([code, value]).toMatchObject([4, { mismatches: 3, firstMismatch: { vector: 0, layer: null, node: 'y' } }]);
    expect(err).toContain('E702');
  });

  test('inspect keeps its contracts', async () => {
    const m = (await json('inspect', MODEL)).value;
    expect(breaches(CONTRACTS.inspectModel, m)).toEqual([]);
    expect(m).toMatchObject({ kind: 'model', inputs: [{ name: 'x', dtype: 'f32', shape: [1, 3, 8, 8] }], macs: 50720, ops: { conv: 2, linear: 1 } });
    const b = (await json('inspect', BUNDLE)).value;
    expect(breaches(CONTRACTS.inspectBundle, b)).toEqual([]);
    const { layers, bytes } = b as never as { layers: { bytes: number }[]; bytes: { weights: number } };
    expect(layers.reduce((s, l) => s + l.bytes, 0)).toBe(bytes.weights);
  });

  test('run: npy and npz, one sample and stacks, both targets, the recorded output', async () => {
    const recorded = readNpz(readFileSync(join(BUNDLE, 'reference/vectors.npz')));
    const expected = toNumbers(recorded.get('out/y')!);
    const x = vectorInput();
    const one = await json('run', BUNDLE, '--input', x);
    expect(breaches(CONTRACTS.run, one.value)).toEqual([]);
    expect((one.value as never as { outputs: { data: number[] }[] }).outputs[0].data).toEqual(expected.slice(0, 4));
    const stack = recorded.get('in/x')!;
    const npz = folder.path('stack.npz');
    writeFileSync(npz, writeNpz(new Map([['x', tensor('f32', [3, 3, 8, 8], stack.data)]])));
    const y = folder.path('y.npy');
    const { code, out } = await bitloom('run', BUNDLE, '--input', npz, '-o', y);
    expect([code, out.trim()]).toEqual([0, y]);
    const got = readNpy(readFileSync(y));
    expect([got.shape, toNumbers(got)]).toEqual([[3, 4], expected]);
    const named = await json('run', BUNDLE, '--input', `x=${x}`, '-o', folder.path('y.npz'));
    expect(named.value).toMatchObject({ output: folder.path('y.npz'), outputs: [{ data: null }] });
    expect(toNumbers(readNpz(readFileSync(folder.path('y.npz'))).get('y')!)).toEqual(expected.slice(0, 4));
  });

  test('run refuses what does not fit', async () => {
    const file = folder.path('wrong.npy');
    for (const [t, code] of [[tensorOf('f32', [2], [1, 2]), 'E302'], [tensor('f32', [0, 3, 8, 8], new Float32Array(0)), 'E302']] as const) {
      writeFileSync(file, writeNpy(t));
      expect((await json('run', BUNDLE, '--input', file)).value.error!.code).toBe(code);
    }
    writeFileSync(file, 'not numpy');
    expect((await json('run', BUNDLE, '--input', file)).value.error!.code).toBe('E301');
    expect((await json('run', BUNDLE, '--input', folder.path('absent.npy'))).value.error!.code).toBe('E704');
    writeFileSync(folder.path('z.npz'), writeNpz(new Map([['z', tensorOf('f32', [1], [1])]])));
    expect((await json('run', BUNDLE, '--input', folder.path('z.npz'))).value.error).toMatchObject({ code: 'E302', node: 'z', expected: 'x' });
  });

  test('eval: exactly the contract, W8A8 near float', async () => {
    const float = await json('eval', MODEL, '--data', DATA);
    expect(Object.keys(float.value)).toEqual(['samples', 'top1', 'loss', 'agreement']);
    const bundle = await json('eval', BUNDLE, '--data', DATA);
    expect([float.value.samples, bundle.value.samples]).toEqual([48, 48]);
    expect(Math.abs(Number(float.value.loss) - Number(bundle.value.loss))).toBeLessThan(0.5);
    const offset = await json('eval', MODEL, '--data', DATA, '--label-offset', '-1', '--samples', '12', '-q');
    expect(offset.value.samples).toBe(12);
    writeFileSync(folder.path('plain.npz'), writeNpz(new Map([['x', readNpz(readFileSync(DATA)).get('x')!]])));
    const unlabelled = await json('eval', BUNDLE, '--data', folder.path('plain.npz'));
    expect(unlabelled.value).toEqual({ samples: 48, top1: null, loss: null, agreement: null });
    expect(unlabelled.err).toContain('WARNING');
  });

  test('search writes an assignment that compile takes: same bits, same weights as in one go', async () => {
    const file = folder.path('net.assignment.json');
    const found = await json('search', MODEL, ...CALIBRATED, '-o', file);
    expect(breaches(CONTRACTS.search, found.value)).toEqual([]);
    const r = found.value as never as { pareto: { cost: number; loss: number }[]; layers: { weightBits: number }[]; budget: { used: number; limit: number } };
    expect(r.budget.used).toBeLessThanOrEqual(r.budget.limit);
    expect(r.pareto.length).toBeGreaterThan(3);
    for (let i = 1; i < r.pareto.length; i++) {
      expect(r.pareto[i].cost).toBeGreaterThan(r.pareto[i - 1].cost);
      expect(r.pareto[i].loss).toBeLessThan(r.pareto[i - 1].loss);
    }
    const { value } = await json('compile', MODEL, '--calib', DATA, '--assignment', file, '-o', folder.path('assigned'));
    expect((value as never as typeof r).layers.map((l) => l.weightBits)).toEqual(r.layers.map((l) => l.weightBits));
    expect(value.search).toMatchObject({ strategy: 'assignment', objective: null });
    expect(readFileSync(folder.path('assigned/weights.bin'))).toEqual(readFileSync(join(BUNDLE, 'weights.bin')));
  });

  test('f32, and a warning without calibration data', async () => {
    const float = await json('compile', MODEL, '--precision', 'f32', '-o', folder.path('f32'));
    expect(float.value).toMatchObject({ bits: { weights: 32, activations: 32 }, calibration: null, warnings: [], search: { strategy: 'none', seconds: 0 } });
    expect((await json('verify', folder.path('f32'))).value.mismatches).toBe(0);
    const blind = await json('compile', MODEL, '-q');
    expect(blind.err).toMatch(/WARNING: .*accuracy is unknown/);
    expect(blind.value).toMatchObject({ bundle: null, calibration: { data: 'synthetic' } });
    expect((blind.value as never as { warnings: string[] }).warnings).toHaveLength(1);
  });

  test('pins and candidates', async () => {
    const { value } = await json('compile', MODEL, '--calib', DATA, '--samples', '8', '--precision', 'w2a4', '--pin', 'Conv_2=w5a6');
    const layers = (value as never as { layers: { weightBits: number; activationBits: number }[] }).layers;
    expect(layers.map((l) => `w${l.weightBits}a${l.activationBits}`)).toEqual(['w8a8', 'w5a6', 'w8a8']);
  });

  test('reports for people', async () => {
    const { out, err } = await bitloom('search', MODEL, ...CALIBRATED);
    expect(err).toBe('');
    for (const word of ['layer', 'Pareto front', '← chosen', 'budget', 'bits=4', 'proven optimal', 'Conv_2']) expect(out).toContain(word);
    expect((await bitloom('inspect', BUNDLE)).out).toMatch(/Conv_2 +conv +\d +8 +\w+/);
    expect((await bitloom('verify', BUNDLE)).out).toMatch(/mismatches +0/);
  });
});

describe('looking inside', () => {
  const QUICK = ['--calib', DATA, '--samples', '4'];
  test('--print-ir-after all prints each step on stderr', async () => {
    const { code, out, err } = await bitloom('compile', MODEL, ...QUICK, '--print-ir-after', 'all', '--json');
    expect(code).toBe(0);
    expect([...err.matchAll(/^\/\/ after ([\w-]+)$/gm)].map((m) => m[1])).toEqual(['import', 'simplify', 'fuse-activation', 'streams', 'candidates', 'chosen', 'calibrated']);
    expect(() => JSON.parse(out)).not.toThrow();
    const one = await bitloom('compile', MODEL, ...QUICK, '--print-ir-after', 'chosen');
    expect(one.err.match(/^\/\/ after/gm)).toHaveLength(1);
  });

  test.each(['float', 'candidates', 'chosen', 'calibrated'])('--stop-after %s prints the graph and writes no bundle', async (phase) => {
    const { code, value } = await json('compile', MODEL, ...QUICK, '--stop-after', phase);
    expect(code).toBe(0);
    expect(breaches(CONTRACTS.stopped, value)).toEqual([]);
    expect(value.phase).toBe(phase);
    expect(String(value.ir)).toMatch(/^graph /);
  });

  test('--stop-after with -o writes the text', async () => {
    const file = folder.path('graph.txt');
    const { out } = await bitloom('compile', MODEL, '--stop-after', 'float');
    expect((await bitloom('compile', MODEL, '--stop-after', 'float', '-o', file)).code).toBe(0);
    expect(readFileSync(file, 'utf8').trimEnd()).toBe(out.trimEnd());
  });

  test('-v names the steps', async () => expect((await bitloom('compile', MODEL, '--precision', 'f32', '-v')).err).toMatch(/ s {2}simplify\n.* s {2}fuse-activation\n.* s {2}streams\n.* s {2}done/));
});

describe('configuration files', () => {
  const file = folder.path('bitloom.config.json');
  const config = (value: unknown): void => writeFileSync(file, typeof value === 'string' ? value : JSON.stringify(value));

  test('options come from the file, paths relative to it; flags go over them', async () => {
    config({ calib: 'data.npz', samples: 6, precision: 'w3a8', freeEnds: true, preprocessing: { mean: [0.5] }, target: ['wasm-scalar'], output: 'configured' });
    const r = (await json('compile', MODEL, '--config', file)).value;
    expect(r).toMatchObject({ bundle: folder.path('configured'), bits: { weights: 3 }, targets: ['wasm-scalar'], calibration: { samples: 6 } });
    expect((await json('inspect', folder.path('configured'))).value.preprocessing).toEqual({ mean: [0.5] });
    const over = (await json('compile', MODEL, '--config', file, '--budget', 'bits=5', '--samples', '7', '--target', 'c', '-o', folder.path('over'))).value;
    expect(over).toMatchObject({ bundle: folder.path('over'), search: { strategy: 'mckp' }, targets: ['c'], calibration: { samples: 7 } });
    expect((await json('search', MODEL, '--config', file)).value).toMatchObject({ strategy: 'uniform', assignment: null });
  });

  test('bitloom.config.json of the current folder is found', async () => {
    config({ calib: 'data.npz', samples: 5 });
    const spy = vi.spyOn(process, 'cwd').mockReturnValue(dirname(file));
    try {
      expect((await json('compile', MODEL)).value.calibration).toMatchObject({ samples: 5 });
    } finally {
      spy.mockRestore();
    }
  });

  test.each([['{', 'JSON'], [{ bugdet: 'bits=4' }, 'bugdet'], [{ weights: [9] }, 'weights'], [{ preprocessing: { std: [0] } }, 'std'], [[], 'object']])('refused: %j', async (value, word) => {
    config(value);
    const { code, value: printed } = await json('compile', MODEL, '--config', file);
    expect([code, printed.error!.code]).toEqual([2, 'E102']);
    expect(JSON.stringify(printed.error)).toContain(word);
  });

  test('a file that is not there', async () => expect((await json('compile', MODEL, '--config', folder.path('none.json'))).value.error!.code).toBe('E102'));
});

test('an interrupt exits with 130 and leaves nothing behind', async () => {
  const target = folder.path('interrupted');
  const interrupt = new AbortController();
  mkdirSync(`${target}.0123456789ab.tmp`); // as if caught while writing
  let err = '';
  const stop = (text: string): void => {
    err += text;
    if (text.includes('simplify')) interrupt.abort();
  };
  const code = await main(['compile', MODEL, '--calib', DATA, '-v', '-o', target], { out: () => {}, err: stop, tty: false, signal: interrupt.signal });
  expect(code).toBe(INTERRUPTED);
  expect(err).toMatch(/interrupted\n$/);
  expectNothingAt(target);
});
