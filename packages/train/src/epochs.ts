/** Batches of a labelled data set in random order, the same for the same seed wherever a run begins. */
import { type DataSource, batches } from '@bitloom/data';
import { fail } from '@bitloom/diagnostics';
import { Rng, type Tensor, allocate } from '@bitloom/tensor';
import { type Augmentation, augment } from './augment.js';

export interface EpochOptions {
  readonly batch: number;
  readonly seed: number;
  /** Of inputs of shape [channels, height, width]; others stay as they are. */
  readonly augmentation: Augmentation | null;
  /** Value of each channel outside an image; default 0, the mean pixel of standardised images. */
  readonly fill?: readonly number[];
}

export interface TrainingBatch {
  readonly inputs: ReadonlyMap<string, Tensor>;
  readonly labels: Int32Array;
}

/** Distinct seeds for what is random in a run. */
const mixed = (seed: number, a: number, b: number): number => (seed ^ Math.imul(a + 1, 0x9e3779b1) ^ Math.imul(b + 1, 0x85ebca6b)) >>> 0;

export class Epochs {
  readonly stepsPerEpoch: number;
  readonly batchSize: number;
  private order: { readonly epoch: number; readonly indices: Int32Array } | null = null;

  /** @throws E304 without labels, E303 for less than a batch of samples */
  constructor(private readonly source: DataSource, private readonly options: EpochOptions) {
    if (!source.labelled) fail('E304', 'training needs labels', { found: source.kind, remedy: 'give a folder a class, or an archive with labels' });
    this.batchSize = options.batch;
    this.stepsPerEpoch = Math.floor(source.size / options.batch);
    if (this.stepsPerEpoch === 0) fail('E303', 'too few samples for a batch', { found: String(source.size), expected: `at least ${options.batch}`, remedy: 'give more, or make batches smaller' });
  }

  /**
   * The batch of a step, from 0 on over all epochs; depends on the seed and the step alone, so that a run may go on anywhere. Every sample comes
   * at most once an epoch; those that do not fill a batch wait for another order.
   */
  async batch(step: number): Promise<TrainingBatch> {
    const { batch, seed, augmentation, fill } = this.options;
    const epoch = Math.floor(step / this.stepsPerEpoch);
    if (this.order?.epoch !== epoch) this.order = { epoch, indices: new Rng(mixed(seed, epoch, 0)).permutation(this.source.size) };
    const at = (step % this.stepsPerEpoch) * batch;
    for await (const { inputs, labels } of batches(this.source, batch, Array.from(this.order.indices.subarray(at, at + batch)))) {
      return { inputs: augmentation ? views(inputs, augmentation, new Rng(mixed(seed, step, 1)), fill ?? null) : inputs, labels: labels! };
    }
    return fail('E303', 'the data set is empty', { found: this.source.kind });
  }
}

function views(inputs: ReadonlyMap<string, Tensor>, a: Augmentation, rng: Rng, fill: readonly number[] | null): ReadonlyMap<string, Tensor> {
  return new Map([...inputs].map(([name, t]) => {
    if (t.shape.length !== 4 || t.dtype !== 'f32') return [name, t];
    const [samples, channels, height, width] = t.shape;
    const out = allocate('f32', t.shape);
    const size = channels * height * width;
    for (let i = 0; i < samples; i++) {
      const image = (of: Tensor): Float32Array => (of.data as Float32Array).subarray(i * size, (i + 1) * size);
      augment(image(t), image(out), [channels, height, width], a, rng, fill);
    }
    return [name, out];
  }));
}

/** Labels as rows of zeros with a one, [batch, classes]. @throws E302 for a label that is no class */
export function oneHot(labels: Int32Array, classes: number): Tensor {
  const t = allocate('f32', [labels.length, classes]);
  labels.forEach((label, i) => {
    if (label < 0 || label >= classes) fail('E302', 'a label is no class of the model', { found: String(label), expected: `0 to ${classes - 1}` });
    t.data[i * classes + label] = 1;
  });
  return t;
}
