/** A training run from its beginning, or from where it was ended, to its last step. */
import { fail } from '@bitloom/diagnostics';
import type { ValueId } from '@bitloom/ir';
import type { Tensor } from '@bitloom/tensor';
import { decodeCheckpoint, encodeCheckpoint } from './checkpoint.js';
import type { Epochs, TrainingBatch } from './epochs.js';
import type { Schedule } from './schedule.js';
import type { StepResult, Trainer } from './step.js';

/** Where a run keeps its state; saving replaces what was there as a whole. */
export interface CheckpointStore {
  load(): Promise<Uint8Array | null>;
  save(data: Uint8Array): Promise<void>;
}

/** Means over the steps of an epoch, during training. */
export interface EpochLog {
  readonly loss: number;
  /** Share of right answers; null where none are counted. */
  readonly accuracy: number | null;
  /** What {@link FitOptions.evaluate} gave; null without it. */
  readonly evaluated: number | null;
}

export interface FitProgress {
  readonly step: number;
  readonly total: number;
  readonly loss: number;
  readonly accuracy: number | null;
}

export interface FitOptions {
  readonly epochs: number;
  /** Learning rate, and its factor at each step. */
  readonly rate: number;
  readonly schedule: Schedule;
  /** What the trainer is fed for a batch. */
  feeds(batch: TrainingBatch, step: number): ReadonlyMap<ValueId, Tensor>;
  /** Right answers in a batch. */
  correct?(result: StepResult, batch: TrainingBatch): number;
  /** Measures the network after each epoch, for the log alone. */
  evaluate?(): Promise<number>;
  /** What the run is: a checkpoint of another identity is refused. */
  readonly identity: string;
  readonly store: CheckpointStore | null;
  /** Steps between checkpoints; one is made after every epoch, too. */
  readonly saveEvery: number;
  /** Called after every step; may throw to end the run. */
  readonly progress?: (p: FitProgress) => void;
}

interface Meta {
  readonly identity: string;
  readonly step: number;
  /** Ended epochs, and sums over the present one. */
  readonly log: readonly EpochLog[];
  readonly sums: readonly [loss: number, correct: number];
}

const isMeta = (m: unknown): m is Meta => typeof m === 'object' && m !== null && 'identity' in m && 'step' in m && 'log' in m && 'sums' in m;

/**
 * Trains for so many epochs. A run that was ended at any moment goes on from its last checkpoint to the same result, bit for bit.
 * @throws E706 for a checkpoint of another run, E404 when the loss is not finite
 */
export async function fit(trainer: Trainer, data: Epochs, o: FitOptions): Promise<readonly EpochLog[]> {
  const total = o.epochs * data.stepsPerEpoch;
  let log: EpochLog[] = [];
  let [loss, correct] = [0, 0];
  const saved = await o.store?.load();
  if (saved) {
    const { meta, tensors } = decodeCheckpoint(saved, 'checkpoint');
    if (!isMeta(meta) || meta.identity !== o.identity) {
      fail('E706', 'the checkpoint is of another run', { found: isMeta(meta) ? meta.identity : 'no run', expected: o.identity, remedy: 'delete it, or write elsewhere' });
    }
    trainer.restore(meta.step, tensors);
    log = [...meta.log];
    [loss, correct] = meta.sums;
  }
  while (trainer.step < total) {
    const { step } = trainer;
    const examples = await data.batch(step);
    const result = await trainer.run(o.feeds(examples, step), o.rate * o.schedule(step, total));
    const right = o.correct?.(result, examples);
    loss += result.loss;
    correct += right ?? 0;
    const ended = trainer.step % data.stepsPerEpoch === 0;
    if (ended) {
      log.push({ loss: loss / data.stepsPerEpoch, accuracy: right === undefined ? null : correct / (data.stepsPerEpoch * data.batchSize), evaluated: (await o.evaluate?.()) ?? null });
      [loss, correct] = [0, 0];
    }
    if (o.store && (ended || trainer.step % o.saveEvery === 0)) {
      const meta: Meta = { identity: o.identity, step: trainer.step, log, sums: [loss, correct] };
      await o.store.save(encodeCheckpoint({ meta, tensors: trainer.training }));
    }
    o.progress?.({ step: trainer.step, total, loss: result.loss, accuracy: right === undefined ? null : right / data.batchSize });
  }
  return log;
}
