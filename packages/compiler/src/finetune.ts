/** Fine-tuning: a float model and bits in, a model whose weights and steps were trained at these bits out. */
import { createHash } from 'node:crypto';
import { readFile, rm } from 'node:fs/promises';
import { writeFileAtomic } from '@bitloom/bundle';
import { activationParams, collectHistograms, graphBatches, mergeHistograms } from '@bitloom/calibrate';
import { type DataSource, openData, remembered } from '@bitloom/data';
import { fail } from '@bitloom/diagnostics';
import { compileGraph } from '@bitloom/engine';
import { type Graph, type ValueId, constantData, deadCode, producers } from '@bitloom/ir';
import type { QuantParams } from '@bitloom/numerics';
import { type BitChoice, averageBits, classifierLogits, readAssignment, toAssignment } from '@bitloom/search';
import type { Tensor } from '@bitloom/tensor';
import { type CheckpointStore, type EpochLog, type TunedNetwork, fakeQuantized, finetune as train, insideCells, largest } from '@bitloom/train';
import { activationScheme, applyAssignment, quantizable, replaceConstants } from '@bitloom/transforms';
import { type FinetuneConfig, finetuneConfigSchema, parseConfig } from './config.js';
import { atBatch, inputSpecs, loadModel } from './model.js';
import { type FinetuneOptions, searchOptionsSchema } from './options.js';
import { type Hooks, learntRounding, parametersOf } from './pipeline.js';
import { REMEMBERED_BYTES, calibrationOptions, observe, readAssignmentFile, searchProblem } from './search.js';
import { writeTuned } from './tuned.js';

export interface FinetuneReport {
  /** ONNX file written; null without an output. */
  readonly model: string | null;
  /** Steps of an epoch. */
  readonly steps: number;
  /** Mean loss and share of right answers in training; share of right answers on `--eval` data after the epoch. */
  readonly epochs: readonly { readonly loss: number; readonly accuracy: number | null; readonly evaluated: number | null }[];
  /** Averages over parameters and over MACs. */
  readonly bits: { readonly weights: number; readonly activations: number };
  readonly seconds: number;
}

const SAVE_EVERY = 100;

/** A checkpoint in a file. */
export const fileStore = (path: string): CheckpointStore => ({
  load: () => readFile(path).catch((e: NodeJS.ErrnoException) => (e.code === 'ENOENT' ? null : fail('E704', 'checkpoint cannot be read', { node: path, found: e.code }, e))),
  save: (data) => writeFileAtomic(path, data),
});

/**
 * @param finished sees the report before the checkpoint is removed: what is kept of it cannot be lost together with that
 * @throws E304, E303 for the data, E404 when training diverges, E502 for the assignment, E706 for another run's checkpoint, and as the steps of compile do
 */
export async function finetune(
  path: string, config: FinetuneConfig, hooks: Hooks = {}, finished: (report: FinetuneReport) => Promise<void> = async () => {},
): Promise<FinetuneReport> {
  const { output, ...o } = parseConfig(finetuneConfigSchema, config);
  if ((o.assignment === null) === (o.precision === null)) {
    fail('E103', 'fine-tuning needs the bits', { found: o.assignment === null ? 'neither --assignment nor --precision' : '--assignment and --precision', remedy: 'give one of them' });
  }
  const progress = hooks.progress ?? (() => {});
  const started = performance.now();
  const model = await loadModel(path, o.define);
  const g = (await atBatch(model, o.batch)) ?? fail('E204', 'the model cannot be trained on that many samples', {
    node: model.name, found: `--batch ${o.batch}`, remedy: 'export the model with a symbolic batch dimension and without constant shapes inside',
  });
  const logits = classifierLogits(g) ?? fail('E601', 'only classifiers can be fine-tuned', { node: model.name, expected: 'one output, [batch, classes]' });
  const search = searchOptionsSchema.parse({ define: o.define, calib: o.data, preprocessing: o.preprocessing, samples: o.samples, precision: o.precision, pin: o.pin, freeEnds: o.freeEnds, rounding: o.rounding, seed: o.seed });
  const evaluation = o.eval === null ? null : remembered(await openData(o.eval, inputSpecs(g), o.preprocessing), REMEMBERED_BYTES);
  if (evaluation && !evaluation.labelled) fail('E304', 'accuracy needs labels', { node: o.eval!, remedy: 'give labelled data to --eval' });
  const observed = await observe(model, search, progress);
  const { problem, strategy, options } = searchProblem(model, search, observed, null, progress) ?? fail('E103', 'nothing to train at f32', { remedy: 'give the bits' });
  const choice: BitChoice = o.assignment === null ? (await strategy.search(problem, options)).choice : readAssignment(problem, await readAssignmentFile(o.assignment));
  const sites = quantizable(g);
  const chosen = applyAssignment(problem.graph, toAssignment(sites, choice));
  const initial = await parametersOf(chosen, model, observed, search, progress);
  // Training goes on from what compile makes of these bits without it.
  const rounded = await learntRounding(chosen, initial, model, observed, search, hooks);
  const weights = new Map<ValueId, Tensor>();
  const producer = producers(g);
  for (const l of sites.layers) {
    const r = rounded?.get(l.name);
    if (!r?.weight) continue;
    initial.set(l.weight, r.params);
    weights.set(l.weight, insideCells(constantData(producer, l.weight)!, r.weight, r.params));
  }
  // A group's first value is quantised, what moves its elements keeps the codes. Streams have bits to spare: they are calibrated in the end.
  const trained = new Map([...sites.layers.map((l) => l.weight), ...sites.groups.filter((a) => a.layers.length > 0).map((a) => a.id)]
    .flatMap((id) => (initial.has(id) ? [[id, initial.get(id)!] as const] : [])));

  const data = observed.all;
  // Places of files do not matter, what is in them does.
  const { assignment: _, eval: __, data: ___, checkpoint, ...rest } = o;
  const identity = createHash('sha256').update(JSON.stringify([model.sha256, data.fingerprint, rest, [...choice.weights], [...choice.activations]])).digest('hex');
  const file = checkpoint ?? (output === null ? null : `${output}.checkpoint`);
  const tunedGraph = (n: TunedNetwork, of: Graph): Graph => deadCode(replaceConstants(of, n.layers));
  /** Parameters of the activations that are quantised, groups whole. */
  const activations = (learnt: ReadonlyMap<ValueId, QuantParams>): Map<ValueId, QuantParams> =>
    new Map(sites.groups.flatMap((a) => (learnt.has(a.id) ? a.values.map((v) => [v, learnt.get(a.id)!] as const) : [])));
  const steps = Math.floor(data.size / o.batch) * o.epochs;

  const run = await train({ graph: g, logits, params: trained, weights, data }, trainingOptions(o), {
    identity, store: file === null ? null : fileStore(file), saveEvery: SAVE_EVERY,
    progress: (p) => progress(`training, loss ${p.loss.toFixed(3)}${p.accuracy === null ? '' : `, right ${(100 * p.accuracy).toFixed(0)} %`}`, p.step, p.total),
    ...(evaluation ? { evaluate: async (n: TunedNetwork): Promise<number> => {
      const share = await accuracy(fakeQuantized(tunedGraph(n, g), activations(n.params)), logits, evaluation);
      progress(`evaluated: ${(100 * share).toFixed(2)} %`, 1, 1);
      return share;
    } } : {}),
  });
  const { network, log } = run;

  // Streams of the trained network, whose layers read quantised inputs.
  const learnt = activations(network.params);
  const small = tunedGraph(network, observed.graph);
  const streams = sites.groups.filter((a) => !learnt.has(a.id) && initial.has(a.id));
  const histograms = await collectHistograms(fakeQuantized(small, learnt), streams.flatMap((a) => a.values), observed.data, progress);
  const params = new Map([...network.params, ...learnt]);
  for (const a of streams) {
    const q = activationParams(mergeHistograms(a.values.map((v) => histograms.get(v)!)), activationScheme(choice.activations.get(a.id)!), calibrationOptions(search));
    for (const v of a.values) params.set(v, q);
  }
  // What layers read directly, since its bits are those of the stream.
  for (const a of sites.groups) if (!params.has(a.id)) params.set(a.id, params.get(producer.get(a.id)!.inputs[0])!);
  if (output !== null) await writeFileAtomic(output, await writeTuned(model.graph, tunedGraph(network, model.graph), { choice, params }));
  const average = averageBits(problem, choice);
  const report: FinetuneReport = {
    model: output, steps: steps / o.epochs, epochs: log.map(({ loss, accuracy: a, evaluated }: EpochLog) => ({ loss, accuracy: a, evaluated })),
    bits: { weights: average.weightBits, activations: average.activationBits }, seconds: (performance.now() - started) / 1000,
  };
  await finished(report);
  if (file !== null) await rm(file, { force: true });
  return report;
}

const trainingOptions = (o: FinetuneOptions): Parameters<typeof train>[1] => ({
  epochs: o.epochs, rate: o.rate, stepRate: o.stepRate, warmUp: o.warmUp, decay: o.decay, clip: o.clip, smoothing: o.smoothing, distillation: o.distillation, temperature: o.temperature,
  augmentation: o.crop > 0 || o.flip ? { pad: o.crop, flip: o.flip } : null, seed: o.seed, device: o.device,
});

/** Share of samples whose largest logit is that of the label. */
async function accuracy(g: Graph, logits: ValueId, data: DataSource): Promise<number> {
  const session = await compileGraph(g, [logits]);
  let right = 0;
  try {
    for await (const { inputs, labels, count } of graphBatches(g, data)) {
      const found = largest((await session.run(inputs)).get(logits)!);
      for (let i = 0; i < count; i++) if (found[i] === labels![i]) right++;
    }
  } finally {
    await session.close();
  }
  return right / data.size;
}
