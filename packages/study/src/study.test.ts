import { existsSync, mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { Rng, readNpz, writeNpz } from '@bitloom/tensor';
import { afterAll, describe, expect, it, vi } from 'vitest';
import { type StudyConfig, type StudyReport, abandonStudy, failureOf, study } from './index.js';
import { contents, place } from './tiny.test.util.js';

vi.setConfig({ testTimeout: 300_000 });

const temp = place();
afterAll(temp.dispose);

const base = { data: temp.train, eval: temp.test, weights: [2, 4, 8], activations: [4, 8], samples: 16, training: { batch: 16, rate: 0.05 } } satisfies Omit<StudyConfig, 'output'>;
/** Everything at once: strategies with and without draws, a budget that cannot be met, a precision, fine-tuning of different lengths, two seeds. */
const whole: Omit<StudyConfig, 'output'> = {
  ...base, strategies: ['mckp', 'random'], budgets: ['bops=50%', 'bops=0.01%'], precisions: ['w2a4'], seeds: [0, 1], rounding: 'nearest', epochs: 1, finetuneEpochs: { uniform: 2, random: 0 },
};
const coded = (code: string): unknown => expect.objectContaining({ code });
const files = (folder: string): string[] => !existsSync(folder) ? [] : readdirSync(folder, { recursive: true, withFileTypes: true }).filter((f) => f.isFile()).map((f) => join(f.parentPath, f.name));

let first: Promise<{ report: StudyReport; made: Map<string, string> }> | null = null;
/** The whole study, done once without interruption. */
const uninterrupted = (): NonNullable<typeof first> => (first ??= (async () => {
  const report = await study(temp.model, { ...whole, output: temp.path('whole') });
  return { report, made: contents(temp.path('whole')) };
})());

describe('a study', () => {
  it('has a row for each setting, with what was measured', async () => {
    const { report, made } = await uninterrupted();
    expect(report.summary.map((s) => [s.strategy, s.budget ?? s.precision, s.done])).toEqual([
      ['uniform', 'w2a4', 2], ['mckp', 'bops=50%', 2], ['random', 'bops=50%', 2], ['mckp', 'bops=0.01%', 0], ['random', 'bops=0.01%', 0],
    ]);
    for (const c of report.cells.filter((x) => x.status === 'done')) {
      expect(c.training).toHaveLength(c.epochs);
      expect(c.epochs).toBe({ uniform: 2, mckp: 1, random: 0 }[c.strategy]);
      expect([c.accuracy, c.untuned?.accuracy].every((v) => v! >= 0 && v! <= 100)).toBe(true);
      if (c.epochs === 0) expect(c.untuned).toEqual({ accuracy: c.accuracy, loss: c.loss });
      if (c.budget !== null) expect(c.used! <= c.limit! && c.used === c.bops).toBe(true);
      expect(Object.keys(c.assignment!.layers)).toHaveLength(4);
      expect([c.weightBytes! < report.float.weightBytes, c.bops! < report.float.bops, Object.keys(c.latency!)]).toEqual([true, true, Object.keys(report.float.latency)]);
    }
    const infeasible = report.cells.filter((c) => c.budget === 'bops=0.01%');
    for (const c of infeasible) expect(c).toMatchObject({ status: 'infeasible', error: { code: 'E501', found: 'bops=0.01%' }, accuracy: null, assignment: null });
    expect(failureOf(report)).toBeNull();
    expect(JSON.parse(made.get('study.json')!.replaceAll('Â', ''))).toMatchObject({ kind: 'study', cells: { length: 10 } });
    for (const name of ['study.csv', 'study.md', 'study.html', 'accuracy-size.svg', 'accuracy-bops.svg', 'accuracy-latency.svg']) expect(made.get(name)!.length).toBeGreaterThan(300);
    // Nothing of the place it was made at, and no times.
    for (const [name, text] of made) if (!/\/(quantized|tuned)\//.test(name)) expect([name, text.includes(temp.path(''))]).toEqual([name, false]);
    const times = JSON.parse(readFileSync(temp.path('whole/times.json'), 'utf8')) as { cells: Record<string, Record<string, number>>; searches: Record<string, Record<string, number>> };
    expect(Object.keys(times.cells)).toHaveLength(11);
    expect(Object.keys(times.cells['mckp-bops=50%-1'])).toEqual(['quantized', 'finetune', 'tuned']);
    expect(Object.keys(times.searches)).toEqual(['uniform-w2a4', 'mckp-bops=50%', 'mckp-bops=0.01%']);
  });

  it('of seeds: searches without draws are shared, drawn ones and training differ', async () => {
    const { report } = await uninterrupted();
    const [a, b] = [0, 1].map((seed) => (strategy: string) => report.cells.find((c) => c.strategy === strategy && c.seed === seed && c.budget !== 'bops=0.01%')!);
    expect(a('mckp').assignment).toEqual(b('mckp').assignment);
    expect(a('mckp').training).not.toEqual(b('mckp').training);
    expect(a('random').assignment).not.toEqual(b('random').assignment);
  });

  it('is done again by nothing, and says so', async () => {
    const { report, made } = await uninterrupted();
    const [steps, lines] = [new Set<string>(), [] as string[]];
    const again = await study(temp.model, { ...whole, output: temp.path('whole') }, { progress: (s) => void steps.add(s), cell: (l) => void lines.push(l) });
    expect(again).toEqual(report);
    expect([...steps]).toEqual(['reading model and data']);
    expect(lines).toEqual(['10 of 10 cells were done before']);
    expect(contents(temp.path('whole'))).toEqual(made);
  });

  it('ended at any moment, and with results taken away, comes to the same bytes', async () => {
    const { made } = await uninterrupted();
    const output = temp.path('broken');
    const rng = new Rng(5);
    let ends = 0;
    for (let done = false; !done;) {
      // Ends soon at first, later and later then, so that it gets anywhere.
      let left = 3 + rng.int(10 + 25 * ends);
      try {
        await study(temp.model, { ...whole, output }, { progress: () => { if (left-- === 0) throw new Error('ended'); } });
        done = true;
      } catch (e) {
        expect((e as Error).message).toBe('ended');
        ends++;
        // What a killed process leaves behind, and a result or two taken away.
        for (const dir of [output, join(output, 'cells', 'mckp-bops=50%-0')].filter((d) => existsSync(d))) writeFileSync(join(dir, `result.json.${'0a'.repeat(6)}.tmp`), '{"ke');
        const kept = files(join(output, 'cells')).filter((f) => /(quantized|search|finetune|tuned)\.json$/.test(f));
        if (kept.length > 0 && rng.int(2) === 0) {
          const taken = kept[rng.int(kept.length)];
          for (const file of [taken, join(dirname(taken), 'result.json')]) rmSync(file, { force: true });
        }
      }
    }
    expect(ends).toBeGreaterThan(4);
    expect([...contents(output)].map(([name, text]) => [name, text === made.get(name)])).toEqual([...made.keys()].map((name) => [name, true]));
  });

  it('damaged results are made again', async () => {
    const { made } = await uninterrupted();
    const output = temp.path('whole');
    for (const [name, text] of [['cells/random-bops=50%-0/result.json', '{"key":'], ['cells/random-bops=50%-1/result.json', 'null'], ['cells/float/result.json', '{}'], ['study.csv', '']]) writeFileSync(join(output, name), text);
    await study(temp.model, { ...whole, output });
    expect(contents(output)).toEqual(made);
  });
});

describe('a study that changes', () => {
  const small: Omit<StudyConfig, 'output'> = { ...base, precisions: ['w4a4'], rounding: 'nearest' };
  const output = temp.path('small');
  /** Steps of the cell that a study had to do. */
  const steps = async (config: Omit<StudyConfig, 'output'>): Promise<string[]> => {
    const before = new Map(files(output).filter((f) => /(quantized|search|finetune|tuned|result)\.json$/.test(f)).map((f) => [f, readFileSync(f, 'utf8')]));
    await study(temp.model, { ...config, output });
    return [...new Set(files(output).filter((f) => /(quantized|search|finetune|tuned)\.json$/.test(f) && before.get(f) !== readFileSync(f, 'utf8')).map((f) => f.slice(output.length + 1)))].sort();
  };

  it('does what the change asks for, and nothing else', async () => {
    await study(temp.model, { ...small, output });
    const search = 'searches/uniform-w4a4/search.json';
    const cell = (name: string, seed = 0): string => `cells/uniform-w4a4-${seed}/${name}.json`;
    expect(await steps(small)).toEqual([]);
    expect(await steps({ ...small, rounding: 'adaround' })).toEqual([cell('quantized')]);
    expect(await steps({ ...small, epochs: 1 })).toEqual([cell('finetune'), cell('quantized'), cell('tuned')]);
    expect(await steps({ ...small, epochs: 2 })).toEqual([cell('finetune'), cell('tuned')]);
    expect(await steps({ ...small, seeds: [0, 1] })).toEqual([cell('quantized', 1)]);
    expect(await steps({ ...small, samples: 20 })).toEqual([cell('quantized'), search]);
    // Other test data: bits stay.
    writeFileSync(temp.path('other.npz'), writeNpz(new Map([...readNpz(readFileSync(temp.test))].map(([k, t]) => [k, { ...t, data: t.data.slice().reverse() } as typeof t]))));
    expect(await steps({ ...small, samples: 20, eval: temp.path('other.npz') })).toEqual([cell('quantized')]);
  });

  it('a checkpoint of another run, or a damaged one, is left behind with a warning', async () => {
    const warnings: string[] = [];
    const stop = (s: string): void => { if (s.includes('training')) throw new Error('ended'); };
    await expect(study(temp.model, { ...small, epochs: 3, output: temp.path('other') }, { progress: stop })).rejects.toThrow('ended');
    const checkpoint = temp.path('other/cells/uniform-w4a4-0/tuned.onnx.checkpoint');
    mkdirSync(join(checkpoint, '..'), { recursive: true });
    writeFileSync(checkpoint, 'not of this world');
    const r = await study(temp.model, { ...small, epochs: 2, output: temp.path('other') }, { warn: (w) => void warnings.push(w) });
    expect(r.cells[0]).toMatchObject({ status: 'done', epochs: 2 });
    expect(warnings.filter((w) => w.includes('begins again'))).toHaveLength(1);
  });
});

describe('refusals', () => {
  it.each<[string, Partial<StudyConfig>, string]>([
    ['an unknown strategy', { strategies: ['mkcp'], budgets: ['bits=4'] }, 'E101'],
    ['strategies without budgets', { strategies: ['mckp'] }, 'E103'],
    ['budgets without strategies', { budgets: ['bits=4'] }, 'E103'],
    ['nothing', {}, 'E103'],
    ['a budget of no kind', { strategies: ['mckp'], budgets: ['speed=4'] }, 'E101'],
    ['a precision of floats', { precisions: ['f32'] }, 'E101'],
    ['options of a strategy that is not studied', { precisions: ['w4a4'], strategyOptions: { mckp: {} } }, 'E101'],
    ['options that a strategy does not have', { strategies: ['mckp'], budgets: ['bits=4'], strategyOptions: { mckp: { solver: 'none' } } }, 'E101'],
    ['epochs of a strategy that is not studied', { precisions: ['w4a4'], finetuneEpochs: { mckp: 1 } }, 'E101'],
    ['negative epochs', { precisions: ['w4a4'], epochs: -1 }, 'E101'],
    ['a pin that does not parse', { precisions: ['w4a4'], pin: ['conv'] }, 'E502'],
    ['data that is not there', { precisions: ['w4a4'], data: temp.path('absent.npz') }, 'E301'],
  ])('%s', async (_, config, code) => {
    await expect(study(temp.model, { ...base, ...config, output: temp.path('refused') })).rejects.toThrow(coded(code));
    expect(existsSync(temp.path('refused'))).toBe(false);
  });

  it('test data without labels, and training data where it is trained', async () => {
    const plain = temp.path('plain.npz');
    writeFileSync(plain, writeNpz(new Map([...readNpz(readFileSync(temp.test))].filter(([k]) => k !== 'labels'))));
    await expect(study(temp.model, { ...base, precisions: ['w4a4'], eval: plain, output: temp.path('refused') })).rejects.toThrow(coded('E304'));
    await expect(study(temp.model, { ...base, precisions: ['w4a4'], data: plain, epochs: 1, output: temp.path('refused') })).rejects.toThrow(coded('E304'));
    expect(existsSync(temp.path('refused'))).toBe(false);
  });

  it.each([['of other things', 'notes.txt', 'precious'], ['with a study.json of someone else', 'study.json', '{"kind":"study"}'], ['with one that is no JSON', 'study.json', 'precious']])('a folder %s (E703), which stays as it was', async (_, name, text) => {
    const output = temp.path('taken');
    rmSync(output, { recursive: true, force: true });
    mkdirSync(output);
    writeFileSync(join(output, name), text);
    await expect(study(temp.model, { ...base, precisions: ['w4a4'], output })).rejects.toThrow(coded('E703'));
    expect([...contents(output)]).toEqual([[name, text]]);
  });

  it('a file (E703)', async () => {
    await expect(study(temp.model, { ...base, precisions: ['w4a4'], output: temp.model })).rejects.toThrow(coded('E703'));
  });
});

it('abandonStudy removes what is half-written, and nothing else', () => {
  const folder = temp.path('abandoned');
  mkdirSync(join(folder, 'cells/a/bundle.0123456789ab.tmp'), { recursive: true });
  mkdirSync(join(folder, 'searches/b'), { recursive: true });
  for (const name of ['study.json', 'study.json.0123456789ab.tmp', 'cells/a/result.json', 'cells/a/bundle.0123456789ab.tmp/x', 'searches/b/search.json.0123456789ab.tmp', 'cells/a/0123.tmp']) writeFileSync(join(folder, name), '');
  abandonStudy(folder);
  expect([...contents(folder).keys()]).toEqual(['cells/a/0123.tmp', 'cells/a/result.json', 'study.json']);
  abandonStudy(temp.path('absent'));
});
