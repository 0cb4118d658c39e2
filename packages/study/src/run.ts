/** A study: every strategy at every budget with every seed, each from search to measured accuracy, kept step by step. */
import { createHash } from 'node:crypto';
import { existsSync, rmSync } from 'node:fs';
import { readFile, readdir, rm, stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { writeFileAtomic } from '@bitloom/bundle';
import { type CompileReport, type FinetuneReport, type Hooks, type SearchReport, VERSION, compile, evaluate, finetune, inputSpecs, loadModel, search } from '@bitloom/compiler';
import { type DataSource, openData } from '@bitloom/data';
import { BitloomError, type Diagnostic, fail } from '@bitloom/diagnostics';
import { isConst } from '@bitloom/ir';
import { alone } from './lock.js';
import { type Cell, type StudyConfig, type StudyOptions, cellsOf, checkedOptions, epochsOf, labelOf, searchSeed, settingsOf } from './options.js';
import { writeReports } from './reports.js';
import { TIMES, abandonStudy, hashOf, jsonText, keep, kept, readJson, readTimes, stage } from './stages.js';
import { type CellReport, MARK, type Made, type Measured, type StudyReport, isStudy, summaryOf } from './study.js';

export interface StudyHooks extends Hooks {
  /** A cell is done, or was found done. */
  readonly cell?: (line: string) => void;
}

/** What searches gave, as it is kept. */
type Found =
  | { readonly error: Diagnostic }
  | Pick<CellReport, 'assignment' | 'objective' | 'lowerBound' | 'gap' | 'limit' | 'used'> & { readonly error: null };

/** Errors that are a result of the cell, and do not end the study: a budget that cannot be met, training that diverges. */
const isResult = (e: unknown): e is BitloomError => e instanceof BitloomError && (e.code === 'E501' || e.code === 'E404');
const failed = (nothing: CellReport, error: Diagnostic): CellReport => ({ ...nothing, status: error.code === 'E501' ? 'infeasible' : 'failed', error });

/**
 * Runs what is not done of a study, and writes its tables and plots. A run that ends at any moment is gone on with by the same call, to the
 * same bytes, but for times.
 * @throws E703 where the folder is not that of a study, or another process is at it, E304 without labels to measure accuracy by, and as the steps do but for E501 and E404
 */
export async function study(model: string, config: StudyConfig, hooks: StudyHooks = {}): Promise<StudyReport> {
  const { options: o, costs } = await checkedOptions(config);
  const cells = cellsOf(o);
  await assertStudy(o.output);
  const progress = hooks.progress ?? (() => {});
  progress('reading model and data', 0, 1);
  const loaded = await loadModel(model, o.define);
  for (const name of loaded.unusedDefines) hooks.warn?.(`the model has no dimension ${name}: --define ${name} does nothing`);
  const specs = inputSpecs(loaded.graph);
  const [data, test] = [await openData(o.data, specs, o.preprocessing), await openData(o.eval, specs, o.preprocessing)];
  if (!test.labelled) fail('E304', 'accuracy needs labels', { node: o.eval, remedy: 'give labelled data to --eval' });
  if (!data.labelled && cells.some((c) => epochsOf(o, c) > 0)) fail('E304', 'fine-tuning needs labels', { node: o.data, remedy: 'give labelled data to --data' });

  // External weights are no part of the file's hash.
  const content = createHash('sha256').update(loaded.sha256);
  for (const n of loaded.graph.nodes) if (isConst(n)) content.update(new Uint8Array(n.attrs.data.data.buffer, n.attrs.data.data.byteOffset, n.attrs.data.data.byteLength));
  const about = (x: DataSource): StudyReport['data'] => ({ fingerprint: x.fingerprint, samples: x.size });
  const samples = { data: about(data), eval: about(test) };
  const identity = { version: VERSION, model: content.digest('hex'), data: samples.data.fingerprint, eval: samples.eval.fingerprint, costs };
  // The mark comes before anything else, so that what was begun is known as a study.
  const mark = join(o.output, 'study.json');
  if (!existsSync(mark)) await writeFileAtomic(mark, jsonText(MARK));
  return alone(o.output, () => {
    abandonStudy(o.output);
    return carryOut({ model, o, identity, hooks, folder: o.output }, { name: basename(model), sha256: loaded.sha256 }, samples);
  });
}

/** Does what is left. */
async function carryOut(s: Study, model: StudyReport['model'], samples: Pick<StudyReport, 'data' | 'eval'>): Promise<StudyReport> {
  const { o, hooks, identity: { costs } } = s;
  const cells = cellsOf(o);
  const progress = hooks.progress ?? (() => {});
  const { output: _, data: __, eval: ___, costs: ____, ...options } = o;
  const float = await floatModel(s);
  const done = new Map<string, CellReport>();
  const written = async (): Promise<StudyReport> => {
    const bySetting = settingsOf(o).flatMap((x) => cells.filter((c) => c.strategy === x.strategy && labelOf(c) === labelOf(x)));
    const reports = bySetting.map((c) => done.get(c.name) ?? pending(o, c));
    const report: StudyReport = {
      ...MARK, model, ...samples,
      options: { ...options, costs }, float, summary: summaryOf(settingsOf(o), reports), cells: reports,
    };
    await writeReports(o.output, report);
    return report;
  };

  for (const c of cells) {
    const known = await kept<CellReport>(join(o.output, 'cells', c.name, 'result.json'), plan(s, c).keys.result);
    if (known) done.set(c.name, known);
  }
  if (done.size > 0) hooks.cell?.(`${done.size} of ${cells.length} cells were done before`);
  let report = await written();
  for (const [i, cell] of cells.entries()) {
    if (done.has(cell.name)) continue;
    const place = `${i + 1}/${cells.length}`;
    const title = `${cell.strategy} ${labelOf(cell)}, seed ${cell.seed}`;
    const left = await timeLeft(o.output, cells.slice(i).filter((c) => !done.has(c.name)), done);
    const found = await runCell(s, cell, (step, at, total) => progress(`[${place}${left === null ? '' : `, ${left} left`}] ${title}: ${step}`, at, total));
    done.set(cell.name, found);
    report = await written();
    hooks.cell?.(`${place}  ${title}: ${outcome(found)}`);
  }
  const times = Object.fromEntries(await Promise.all(['float', ...cells.map((c) => c.name)].map(async (name) => [name, await readTimes(join(o.output, 'cells', name))] as const)));
  const searches = Object.fromEntries(await Promise.all([...new Set(cells.map(sharedSearch).filter((n) => n !== null))].map(async (n) => [n, await readTimes(join(o.output, 'searches', n))] as const)));
  await writeFileAtomic(join(o.output, TIMES), jsonText({ unit: 's', searches, cells: times }));
  return report;
}

interface Study {
  readonly model: string;
  readonly o: StudyOptions;
  readonly identity: { readonly version: string; readonly model: string; readonly data: string; readonly eval: string; readonly costs: string | null };
  readonly hooks: StudyHooks;
  readonly folder: string;
}

/** Refuses a folder that holds other things. @throws E703 */
async function assertStudy(folder: string): Promise<void> {
  const info = await stat(folder).catch(() => null);
  if (info) {
    const names = info.isDirectory() ? (await readdir(folder)).filter((n) => !/\.[0-9a-f]{12}\.tmp$/.test(n)) : null;
    if (!names || (names.length > 0 && !isStudy(await readJson(join(folder, 'study.json'))))) {
      fail('E703', 'output exists and is not a study', { node: folder, remedy: 'choose another -o, or remove it' });
    }
  }
}

const measured = async (bundle: string, s: Study, progress: NonNullable<Hooks['progress']>): Promise<{ accuracy: number; loss: number }> => {
  const { top1, loss } = await evaluate(bundle, { data: s.o.eval, preprocessing: null, define: {}, samples: null, seed: 0, target: null, labelOffset: s.o.labelOffset, agree: null }, progress);
  return { accuracy: top1!, loss: loss! };
};

const madeOf = (c: CompileReport): Made => ({ bits: c.bits, weightBytes: c.bytes.weights, bops: c.cost.bops, latency: c.latency });

function floatModel(s: Study): Promise<Measured & Made> {
  const { o, identity: { data: _, ...identity }, model } = s;
  const { define, preprocessing, target, costs, labelOffset } = o;
  const progress: NonNullable<Hooks['progress']> = (step, at, total) => s.hooks.progress?.(`float model: ${step}`, at, total);
  return stage(join(s.folder, 'cells', 'float'), 'result', hashOf([identity, { define, preprocessing, target, labelOffset }]), async () => {
    const made = await compile(model, { precision: 'f32', define, preprocessing, target, costs }, { progress });
    const { top1, loss } = await evaluate(model, { data: o.eval, preprocessing, define, samples: null, seed: 0, target: null, labelOffset, agree: null }, progress);
    return { ...madeOf(made), accuracy: top1!, loss: loss! };
  });
}

/** Name of the search that all seeds of a setting share; null where each has its own. */
const sharedSearch = (c: Cell): string | null => (searchSeed(c) === null ? `${c.strategy}-${labelOf(c)}` : null);

/** What the steps of a cell are given, and the hashes of all that they depend on. */
function plan({ o, identity }: Study, cell: Cell) {
  const { define, preprocessing, samples, weights, activations, pin, freeEnds, rounding, target, labelOffset } = o;
  const { strategy, budget, precision, seed } = cell;
  const common = { define, preprocessing, samples, pin, freeEnds, target };
  const searched = {
    ...common, strategy, seed: searchSeed(cell) ?? 0,
    ...(precision === null ? { budget, weights, activations, strategyOptions: o.strategyOptions[strategy] ?? {} } : { precision }),
  };
  const search = hashOf([identity.version, identity.model, identity.data, identity.costs, searched]);
  const quantized = hashOf([search, identity.eval, seed, rounding, labelOffset]);
  const finetune = hashOf([search, seed, rounding, epochsOf(o, cell), o.training]);
  return { common, searched, keys: { search, quantized, finetune, result: hashOf(epochsOf(o, cell) > 0 ? [quantized, finetune] : [quantized]) } };
}

async function runCell(s: Study, cell: Cell, progress: NonNullable<Hooks['progress']>): Promise<CellReport> {
  const { o, model } = s;
  const { define, preprocessing, samples, pin, freeEnds, rounding, target, costs } = o;
  const { seed } = cell;
  const folder = join(s.folder, 'cells', cell.name);
  const hooks: Hooks = { progress, warn: (w) => s.hooks.warn?.(`${cell.name}: ${w}`) };
  const epochs = epochsOf(o, cell);

  const { common, searched, keys } = plan(s, cell);
  const known = await kept<CellReport>(join(folder, 'result.json'), keys.result);
  if (known) return known;

  const nothing = pending(o, cell);
  const result = (r: CellReport): Promise<CellReport> => keep(join(folder, 'result.json'), keys.result, r);
  const shared = sharedSearch(cell);
  const place = shared === null ? folder : join(s.folder, 'searches', shared);
  const found = await stage(place, 'search', keys.search, (keepIt: (value: Found) => Promise<void>) =>
    searchedBits(model, { ...searched, calib: o.data, costs, output: join(place, 'assignment.json') }, hooks, keepIt));
  rmSync(join(place, 'assignment.json.checkpoint'), { force: true });
  if (found.error) return result(failed(nothing, found.error));
  const { error: _, ...choice } = found;
  const assignment = join(folder, 'assignment.json');
  await writeFileAtomic(assignment, jsonText(choice.assignment));

  const bundle = join(folder, 'quantized');
  const quantized = await stage(folder, 'quantized', keys.quantized, async () => {
    const made = await compile(model, { ...common, assignment, calib: o.data, rounding, seed, costs, output: bundle }, hooks);
    return { ...madeOf(made), ...(await measured(bundle, s, progress)) };
  });
  const untuned = { accuracy: quantized.accuracy, loss: quantized.loss };
  if (epochs === 0) return result({ ...nothing, ...choice, ...quantized, status: 'done', untuned });

  const tuned = join(folder, 'tuned.onnx');
  if (!existsSync(tuned)) await rm(join(folder, 'finetune.json'), { force: true });
  try {
    const losses = (r: FinetuneReport): CellReport['training'] => r.epochs.map(({ loss, accuracy }) => ({ loss, accuracy }));
    const training = await stage(folder, 'finetune', keys.finetune, async (keepIt: (value: CellReport['training']) => Promise<void>) => losses(
      await restartable(`${tuned}.checkpoint`, hooks, () => finetune(model, {
        ...o.training, define, preprocessing, samples, pin, freeEnds, rounding, data: o.data, assignment, epochs, seed, output: tuned,
      }, hooks, (report) => keepIt(losses(report)))),
    ));
    rmSync(`${tuned}.checkpoint`, { force: true });
    const final = await stage(folder, 'tuned', keys.result, async () => {
      const output = join(folder, 'tuned');
      const made = await compile(tuned, { calib: o.data, preprocessing, samples, seed, target, costs, output }, hooks);
      return { ...madeOf(made), ...(await measured(output, s, progress)) };
    });
    return await result({ ...nothing, ...choice, ...final, status: 'done', untuned, training });
  } catch (e) {
    if (!isResult(e)) throw e;
    return result(failed({ ...nothing, ...choice, ...quantized, accuracy: null, loss: null, untuned }, e.diagnostic));
  }
}

/** Runs what keeps a checkpoint; again from the beginning where that is of other options, or was cut short by a machine that lost power. */
function restartable<T>(checkpoint: string, hooks: Hooks, run: () => Promise<T>): Promise<T> {
  return run().catch((e: unknown) => {
    if (!(e instanceof BitloomError) || e.code !== 'E706') throw e;
    hooks.warn!(`${e.message}: this step begins again`);
    rmSync(checkpoint, { force: true });
    return run();
  });
}

async function searchedBits(
  model: string, options: NonNullable<Parameters<typeof search>[1]> & { output: string }, hooks: Hooks, keepIt: (found: Found) => Promise<void>,
): Promise<Found> {
  const foundBy = async (r: SearchReport): Promise<Found> => ({
    error: null, assignment: JSON.parse(await readFile(options.output, 'utf8')) as CellReport['assignment'],
    objective: r.objective, lowerBound: r.lowerBound, gap: r.gap, limit: r.budget?.limit ?? null, used: r.budget?.used ?? null,
  });
  try {
    const r = await restartable(`${options.output}.checkpoint`, hooks, () => search(model, options, hooks, async (report) => keepIt(await foundBy(report))));
    return await foundBy(r);
  } catch (e) {
    if (isResult(e)) return { error: e.diagnostic };
    throw e;
  }
}

function pending(o: StudyOptions, { strategy, budget, precision, seed }: Cell): CellReport {
  return {
    strategy, budget, precision, seed, epochs: epochsOf(o, { strategy, budget, precision }), status: 'pending', error: null, limit: null, used: null, objective: null, lowerBound: null, gap: null,
    bits: null, weightBytes: null, bops: null, latency: null, accuracy: null, loss: null, untuned: null, training: [], assignment: null,
  };
}

const percent = (v: number): string => `${v.toFixed(2)} %`;
function outcome(r: CellReport): string {
  if (r.error) return `${r.error.message}${r.error.expected === undefined ? '' : ` (${r.error.expected})`}`;
  return `${percent(r.accuracy!)}${r.epochs > 0 ? `, ${percent(r.untuned!.accuracy)} before fine-tuning` : ''}`;
}

/** How long the cells of `left` will take, by what finished cells of the same strategy, or any, took. */
async function timeLeft(folder: string, left: readonly Cell[], done: ReadonlyMap<string, CellReport>): Promise<string | null> {
  const known = [...done].filter(([, r]) => r.status === 'done');
  const seconds = await Promise.all(known.map(async ([name, { strategy }]) => ({ strategy, s: Object.values(await readTimes(join(folder, 'cells', name))).reduce((a, b) => a + b, 0) })));
  if (seconds.length === 0) return null;
  const mean = (of: readonly { s: number }[]): number => of.reduce((a, b) => a + b.s, 0) / of.length;
  const total = left.reduce((sum, c) => {
    const same = seconds.filter((t) => t.strategy === c.strategy);
    return sum + mean(same.length > 0 ? same : seconds);
  }, 0);
  return total < 90 ? `${Math.ceil(total)} s` : total < 5400 ? `${Math.ceil(total / 60)} min` : `${(total / 3600).toFixed(1)} h`;
}
