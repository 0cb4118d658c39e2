/** Fine-tuning a float classifier at given bits: what was trained, in the form that the compiler takes. */
import { type DataSource, subset } from '@bitloom/data';
import type { Device } from '@bitloom/engine';
import type { Graph, ValueId } from '@bitloom/ir';
import { type QuantParams, fakeQuantize } from '@bitloom/numerics';
import { type Tensor, tensor } from '@bitloom/tensor';
import type { LayerConstants } from '@bitloom/transforms';
import type { Augmentation } from './augment.js';
import { type Teaching, classifier } from './classifier.js';
import { Epochs } from './epochs.js';
import { type CheckpointStore, type EpochLog, type FitProgress, fit } from './fit.js';
import { sgd } from './optimizer.js';
import { learntParams, learntSteps } from './qat.js';
import { cosine, warmUp } from './schedule.js';
import { outputStatistics, populationStatistics } from './statistics.js';
import { type Parameter, Trainer } from './step.js';
import { foldLayer, trainable } from './trainable.js';

export interface FinetuneOptions extends Teaching {
  readonly epochs: number;
  /** Learning rate of SGD with momentum 0.9, down to 0 along a cosine; its factor for quantisation steps. */
  readonly rate: number;
  readonly stepRate: number;
  /** Share of the run in which the rate rises from 0. */
  readonly warmUp: number;
  /** Weight decay. */
  readonly decay: number;
  /** Length to which longer gradients are shortened; 0 leaves them. */
  readonly clip: number;
  readonly augmentation: Augmentation | null;
  readonly seed: number;
  /** What trains. */
  readonly device: Device;
}

export interface FinetuneProblem {
  /** Simplified float graph at the training batch size. */
  readonly graph: Graph;
  /** Its logits, [batch, classes]. */
  readonly logits: ValueId;
  /** Where weights and inputs of layers begin. */
  readonly params: ReadonlyMap<ValueId, QuantParams>;
  /** Where weights begin, by value, if not at those of the graph: what post-training rounding made of them, on the grids of `params`. */
  readonly weights?: ReadonlyMap<ValueId, Tensor>;
  /** Labelled. */
  readonly data: DataSource;
}

/** Weights on their grids, biases, and the learnt numbers of all that had some. */
export interface TunedNetwork {
  readonly layers: ReadonlyMap<string, LayerConstants>;
  readonly params: ReadonlyMap<ValueId, QuantParams>;
}

export interface FinetuneRun {
  /** What the run is, for checkpoints. */
  readonly identity: string;
  readonly store: CheckpointStore | null;
  readonly saveEvery: number;
  readonly progress?: (p: FitProgress) => void;
  /** Share of right answers of the network as it is after an epoch; the log has them, nothing depends on them. */
  evaluate?(n: TunedNetwork): Promise<number>;
}

/** Batches over which batch statistics are averaged in the end. */
const STATISTICS_BATCHES = 32;

/**
 * Quantisation-aware training of all weights and steps. Batch statistics normalise in training; those of the trained, quantised network are
 * folded into weights and biases in the end.
 * @throws E404 when training diverges, E706 for a checkpoint of another run
 */
export async function finetune(p: FinetuneProblem, o: FinetuneOptions, run: FinetuneRun): Promise<{ network: TunedNetwork; log: readonly EpochLog[] }> {
  const { graph: g, params, weights } = p;
  const batch = g.values.get(g.inputs[0])!.type.shape[0];
  const sample = subset(p.data, STATISTICS_BATCHES * batch, o.seed);
  const quantizers = learntSteps(params, { rateScale: o.stepRate });
  const t = trainable(g, { ...quantizers, statistics: await outputStatistics(g, sample), weights, decay: o.decay });
  const c = classifier(g, p.logits, t, o);
  const parameters = [...t.parameters, ...quantizers.steps.values()];
  const trainer = await Trainer.create({ graph: t.b.build([c.loss, c.logits]), loss: c.loss, parameters, watched: [c.logits] }, sgd(), { device: o.device, clip: o.clip });
  const current = (q: Parameter): Tensor => trainer.parameter(q);
  const network = async (): Promise<TunedNetwork> => {
    const population = await populationStatistics(g, t, new Map(parameters.map((q) => [q.id, current(q)])), sample);
    const steps = learntParams(params, quantizers, current);
    const layers = new Map<string, LayerConstants>();
    const factors = new Map<ValueId, Float32Array>();
    for (const l of t.layers) {
      const q = steps.get(l.layer.weight);
      const w = current(l.weight);
      const folded = foldLayer(l, current, q ? tensor('f32', w.shape, fakeQuantize(w.data as Float32Array, w.shape, q)) : w, population.get(l.layer.name) ?? null);
      layers.set(l.layer.name, folded);
      factors.set(l.layer.weight, folded.factor);
    }
    return { layers, params: learntParams(params, quantizers, current, factors) };
  };
  try {
    const data = new Epochs(p.data, { batch, seed: o.seed, augmentation: o.augmentation });
    const steps = o.epochs * data.stepsPerEpoch;
    const log = await fit(trainer, data, {
      epochs: o.epochs, rate: o.rate, schedule: o.warmUp > 0 ? warmUp(Math.ceil(o.warmUp * steps), cosine) : cosine,
      feeds: c.feeds, correct: c.correct, identity: run.identity, store: run.store, saveEvery: run.saveEvery, progress: run.progress,
      ...(run.evaluate ? { evaluate: async () => run.evaluate!(await network()) } : {}),
    });
    return { network: await network(), log };
  } finally {
    await trainer.close();
  }
}
