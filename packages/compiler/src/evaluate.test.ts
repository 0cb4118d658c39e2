/** Accuracy and loss against their definitions. */
import { NO_C_COMPILER, findCompiler } from '@bitloom/backend-c';
import { openBundle } from '@bitloom/bundle';
import { runProgram } from '@bitloom/kernel-spec';
import { createBuilder, evaluateGraph } from '@bitloom/ops';
import { Rng, type Tensor, tensor, tensorOf, toNumbers } from '@bitloom/tensor';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { addLinear, compileQuickly, random, tinyData, tinyNet, workplace } from './networks.test.util.js';
import { referenceProgram } from './bundle-run.js';
import { type EvalOptions, type EvalReport, compile, evaluate } from './index.js';

const cc = await findCompiler();
if (!cc) console.log(`skipped in part: ${NO_C_COMPILER}`);
const temp = workplace();
compileQuickly(cc, temp);
afterAll(temp.dispose);
const N = 37;
const { x, labels } = tinyData(N);
const DATA = temp.data('data', { x, labels });
const MODEL = temp.model('tiny', tinyNet());
const SOFTMAX = temp.model('softmax', tinyNet('softmax'));
const BUNDLE = temp.path('bundle');
beforeAll(() => compile(MODEL, { calib: DATA, precision: 'w4a8', target: ['wasm', 'c'], output: BUNDLE }));

const run = (path: string, o: Partial<EvalOptions> = {}): Promise<EvalReport> =>
  evaluate(path, { data: DATA, preprocessing: null, define: {}, samples: null, seed: 0, target: null, labelOffset: 0, agree: null, ...o });
const coded = (code: string): unknown => expect.objectContaining({ code });
const sampleAt = (i: number): Tensor => tensor('f32', [1, 3, 9, 9], (x.data as Float32Array).slice(i * 243, (i + 1) * 243));

/** From rows of logits, in double precision. */
function direct(rows: readonly (readonly number[])[], classes: readonly number[]): EvalReport {
  const hits = rows.filter((r, i) => r.indexOf(Math.max(...r)) === classes[i]).length;
  const loss = rows.reduce((s, r, i) => s + Math.log(r.reduce((t, v) => t + Math.exp(v), 0)) - r[classes[i]], 0);
  return { samples: rows.length, top1: (100 * hits) / rows.length, loss: loss / rows.length, agreement: null };
}
const classes = toNumbers(labels);
const floatRows = (): number[][] => {
  const g = tinyNet();
  return classes.map((_, i) => toNumbers(evaluateGraph(g, new Map([['x', sampleAt(i)]])).get(g.outputs[0])!));
};

describe('a float model', () => {
  it('top-1 and mean cross-entropy are those of the definition', async () => {
    const [found, expected] = [await run(MODEL), direct(floatRows(), classes)];
    expect([found.samples, found.top1]).toEqual([N, expected.top1]);
    expect(found.loss).toBeCloseTo(expected.loss!, 5);
  });
  it('a softmax at the end changes neither', async () => {
    const [found, expected] = [await run(SOFTMAX), await run(MODEL)];
    expect(found.top1).toBe(expected.top1);
    expect(found.loss).toBeCloseTo(expected.loss!, 4);
  });
  it.each(['log_softmax', 'softmax'])('%s and a reshape behind it neither', async (op) => {
    const rng = new Rng(2);
    const build = (ends: boolean): string => {
      const b = createBuilder('head');
      const r = new Rng(3);
      const y = addLinear(b, r, b.add('reshape', [b.input('x', { dtype: 'f32', shape: [1, 3, 9, 9] })], { shape: [1, 243] }), 243, 4);
      const probabilities = ends ? b.add('reshape', [b.add(op, [y], { axis: 1 })], { shape: [1, 4, 1] }) : y;
      return temp.model(`head-${op}-${ends}`, b.build([probabilities]));
    };
    const data = temp.data('flat', { x: random(rng, [20, 3, 9, 9], 0.1), labels: tensorOf('i64', [20], Array.from({ length: 20 }, (_, i) => i % 4)) });
    const [found, expected] = [await run(build(true), { data }), await run(build(false), { data })];
    expect(found.top1).toBe(expected.top1);
    expect(found.loss).toBeCloseTo(expected.loss!, 4);
  });
  it('counts what is asked for: some samples, shifted labels, no labels', async () => {
    expect((await run(MODEL, { samples: 5 })).samples).toBe(5);
    const shifted = temp.data('shifted', { x, labels: tensorOf('i64', [N], classes.map((c) => c + 3)) });
    expect(await run(MODEL, { data: shifted, labelOffset: 3 })).toEqual(await run(MODEL));
    expect(await run(MODEL, { data: temp.data('plain', { x }) })).toEqual({ samples: N, top1: null, loss: null, agreement: null });
  });
  it('a label beyond the classes is wrong, not an error', async () => {
    const beyond = temp.data('beyond', { x, labels: tensorOf('i64', [N], classes.map(() => 9)) });
    expect(await run(MODEL, { data: beyond })).toMatchObject({ samples: N, top1: 0 });
  });
  it('what is no model is E704', async () => expect(run(temp.path('nothing'))).rejects.toThrow(coded('E704')));
});

describe('a bundle', () => {
  it('is scored by what it computes', async () => {
    const program = await referenceProgram(await openBundle(BUNDLE));
    const rows = classes.map((_, i) => toNumbers(runProgram(program, new Map([['x', sampleAt(i)]])).get('y')!));
    const [found, expected] = [await run(BUNDLE), direct(rows, classes)];
    expect([found.samples, found.top1]).toEqual([N, expected.top1]);
    expect(found.loss).toBeCloseTo(expected.loss!, 9);
    if (cc) expect(await run(BUNDLE, { target: 'c' })).toEqual(found);
  });
  it('is compared with a model, sample by sample', async () => {
    const floats = floatRows().map((r) => r.indexOf(Math.max(...r)));
    const program = await referenceProgram(await openBundle(BUNDLE));
    const own = classes.map((_, i) => toNumbers(runProgram(program, new Map([['x', sampleAt(i)]])).get('y')!)).map((r) => r.indexOf(Math.max(...r)));
    const { agreement } = await run(BUNDLE, { agree: MODEL });
    expect(agreement).toBeCloseTo((100 * own.filter((c, i) => c === floats[i]).length) / N, 9);
    const qdq = temp.path('same.onnx');
    await compile(MODEL, { calib: DATA, precision: 'w4a8', emitQdq: qdq });
    expect((await run(BUNDLE, { agree: qdq })).agreement).toBeGreaterThanOrEqual(agreement!);
    await expect(run(BUNDLE, { agree: temp.path('none.onnx') })).rejects.toThrow(coded('E704'));
    await expect(run(MODEL, { agree: MODEL })).rejects.toThrow(coded('E103'));
  });
  it('remembers its preprocessing, over which flags go', async () => {
    const folder = temp.path('scaled');
    const halves = temp.data('halves', { x: tensor('f32', x.shape, (x.data as Float32Array).map((v) => v / 2)), labels });
    await compile(MODEL, { precision: 'f32', preprocessing: { scale: 2 }, output: folder });
    const plain = await run(MODEL);
    expect((await run(folder, { data: halves })).loss).toBeCloseTo(plain.loss!, 5);
    expect((await run(folder, { preprocessing: { scale: 1 } })).loss).toBeCloseTo(plain.loss!, 5);
    expect((await run(MODEL, { data: halves, preprocessing: { scale: 2 } })).loss).toBeCloseTo(plain.loss!, 5);
  });
  it('probabilities are told from logits', async () => {
    const folder = temp.path('probabilities');
    await compile(SOFTMAX, { precision: 'f32', output: folder });
    expect((await openBundle(folder)).manifest.classifier).toBe('probabilities');
    expect((await run(folder)).loss).toBeCloseTo((await run(MODEL)).loss!, 4);
    expect((await openBundle(BUNDLE)).manifest.classifier).toBe('logits');
  });
  it('with a batch of its own counts every sample once', async () => {
    const b = createBuilder('batch');
    const y = addLinear(b, new Rng(6), b.input('x', { dtype: 'f32', shape: [4, 5] }), 5, 3);
    const model = temp.model('batch', b.build([y]));
    const folder = temp.path('batch');
    await compile(model, { precision: 'f32', output: folder });
    const data = temp.data('ten', { x: random(new Rng(8), [10, 5]), labels: tensorOf('i64', [10], [0, 1, 2, 0, 1, 2, 0, 1, 2, 0]) });
    const [bundle, float] = [await run(folder, { data }), await run(model, { data })];
    expect(bundle.samples).toBe(10);
    expect([float.samples, float.top1]).toEqual([10, bundle.top1]);
    expect(bundle.loss).toBeCloseTo(float.loss!, 5);
  });
});
