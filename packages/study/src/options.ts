/** What a study is of: everything but progress and where it is written. */
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { STRATEGIES, finetuneOptionsSchema, parseConfig, readCosts, searchConfigSchema } from '@bitloom/compiler';
import { fail } from '@bitloom/diagnostics';
import { parseBudget, parsePin } from '@bitloom/search';
import { z } from 'zod';

const search = searchConfigSchema.shape;
const epochs = z.number().int().nonnegative();

/** How fine-tuning learns: its options but for the model, the data, the bits, and how long. */
const trainingSchema = finetuneOptionsSchema.omit({
  data: true, preprocessing: true, define: true, samples: true, assignment: true, precision: true, pin: true, freeEnds: true, rounding: true, epochs: true, eval: true, checkpoint: true, seed: true,
});

export const studyConfigSchema = z.strictObject({
  /** Training data: for searches, calibration and fine-tuning. */
  data: z.string().min(1),
  /** Labelled data that accuracies are of. Nothing is chosen by it. */
  eval: z.string().min(1),
  strategies: z.array(z.string()).default([]),
  /** Limits at which each strategy runs. */
  budgets: z.array(z.string()).default([]),
  /** Rows with the same bits everywhere, such as `w4a4`. */
  precisions: z.array(z.string()).default([]),
  seeds: z.array(z.number().int()).nonempty().default([0]),
  /** By strategy. */
  strategyOptions: z.record(z.string(), z.record(z.string(), z.unknown())).default({}),
  /** Epochs of fine-tuning; 0 for none. */
  epochs: epochs.default(0),
  /** The same by strategy, for those that train while they search. */
  finetuneEpochs: z.record(z.string(), epochs).default({}),
  training: trainingSchema.prefault({}),
  define: search.define,
  preprocessing: search.preprocessing,
  samples: search.samples,
  weights: search.weights,
  activations: search.activations,
  pin: search.pin,
  freeEnds: search.freeEnds,
  rounding: search.rounding,
  target: search.target,
  costs: search.costs,
  labelOffset: z.number().int().default(0),
  /** Folder of the study. */
  output: z.string().min(1),
});

export type StudyConfig = z.input<typeof studyConfigSchema>;
export type StudyOptions = z.infer<typeof studyConfigSchema>;

/** A strategy at a budget, or one precision everywhere. */
export interface Setting {
  readonly strategy: string;
  /** As the user wrote it; null with a precision. */
  readonly budget: string | null;
  readonly precision: string | null;
}

export const labelOf = (s: Setting): string => s.budget ?? s.precision!;

/** A setting with a seed: one run of search, fine-tuning, compiler and evaluation. */
export interface Cell extends Setting {
  readonly seed: number;
  /** Of its folder. */
  readonly name: string;
}

/** Strategies that draw nothing: one search serves all seeds, which differ in what comes after it. */
const WITHOUT_SEED: ReadonlySet<string> = new Set(['uniform', 'mckp']);
export const searchSeed = (c: Cell): number | null => (WITHOUT_SEED.has(c.strategy) ? null : c.seed);

export const epochsOf = (o: StudyOptions, s: Setting): number => o.finetuneEpochs[s.strategy] ?? o.epochs;

/** Options with defaults, checked as far as that needs no model. @throws E101, E103, E502, and as readCosts does */
export async function checkedOptions(config: StudyConfig): Promise<{ options: StudyOptions; costs: string | null }> {
  const o = parseConfig(studyConfigSchema, config);
  const refuse = (message: string, found: string, expected: string): never => fail('E101', message, { found, expected });
  for (const name of o.strategies) if (!STRATEGIES.has(name)) refuse('unknown strategy', name, [...STRATEGIES.keys()].join(', '));
  if ((o.strategies.length === 0) !== (o.budgets.length === 0)) {
    fail('E103', 'strategies need budgets, and budgets strategies', { remedy: 'give --strategies and --budgets, or --precisions alone' });
  }
  if (o.strategies.length === 0 && o.precisions.length === 0) fail('E103', 'nothing to study', { remedy: 'give --strategies with --budgets, or --precisions' });
  // Only the syntax: without layers the graph is not looked at.
  for (const text of o.budgets) parseBudget(text, null as never, { layers: [], groups: [] });
  for (const p of o.precisions) if (!/^w[1-8]a[1-8]$/i.test(p)) refuse('precision does not parse', p, 'w1a1 … w8a8; the float model is a row of every study');
  o.pin.forEach(parsePin);
  const studied = new Set([...o.strategies, ...(o.precisions.length > 0 ? ['uniform'] : [])]);
  for (const name of [...Object.keys(o.strategyOptions), ...Object.keys(o.finetuneEpochs)]) {
    if (!studied.has(name)) refuse('options of a strategy that is not studied', name, [...studied].join(', '));
  }
  for (const [name, given] of Object.entries(o.strategyOptions)) {
    const parsed = STRATEGIES.get(name)!.options.safeParse(given);
    if (!parsed.success) fail('E101', `bad option of strategy ${name}`, { found: parsed.error.issues[0].message });
  }
  if (o.labelOffset !== 0 && Math.max(o.epochs, ...Object.values(o.finetuneEpochs)) > 0) {
    fail('E103', 'fine-tuning knows no label offset', { found: `--label-offset ${o.labelOffset}`, remedy: 'leave --epochs out, or give data with the labels of the model' });
  }
  if (o.costs === null) return { options: o, costs: null };
  await readCosts(o.costs);
  return { options: o, costs: createHash('sha256').update(await readFile(o.costs)).digest('hex') };
}

/** Rows of the tables, in the order in which they were asked for, without repetitions. */
export function settingsOf(o: StudyOptions): Setting[] {
  const unique = (texts: readonly string[]): string[] => [...new Set(texts.map((t) => t.trim().toLowerCase()))];
  return [
    ...unique(o.precisions).map((precision) => ({ strategy: 'uniform', budget: null, precision })),
    ...unique(o.budgets).flatMap((budget) => [...new Set(o.strategies)].map((strategy) => ({ strategy, budget, precision: null }))),
  ];
}

/** Cells of the settings, all of the first seed first: a study that is not done yet shows every setting. */
export const cellsOf = (o: StudyOptions): Cell[] =>
  [...new Set(o.seeds)].flatMap((seed) => settingsOf(o).map((s) => ({ ...s, seed, name: `${s.strategy}-${labelOf(s)}-${seed}` })));
