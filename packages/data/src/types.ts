import { fail } from '@bitloom/diagnostics';
import type { DType, Tensor } from '@bitloom/tensor';

/** One example. Tensors lack the batch dimension; `label` is a class index. */
export interface Sample {
  readonly inputs: ReadonlyMap<string, Tensor>;
  readonly label?: number;
}

/** A model input with its full shape, batch dimension first. */
export interface InputSpec {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
}

/**
 * Samples in one run of a network: the leading dimension that all its inputs share. Inputs that lead differently (states and caches beside
 * frames, scalars) make one sample together, and {@link sampleSpecs} gives each a leading 1.
 * @throws E204 for a network that takes no samples
 */
export function batchSize(inputs: readonly Pick<InputSpec, 'shape'>[]): number {
  const leads = new Set(inputs.map((i) => i.shape[0]));
  const size = leads.size === 1 ? ([...leads][0] ?? 1) : 1;
  if (size === 0) {
    fail('E204', 'the model takes batches of 0 samples', { found: `inputs [${inputs[0].shape.join(', ')}]`, expected: 'a leading dimension of at least 1' });
  }
  return size;
}

/** What a data source must deliver for a network: its inputs, batch first. */
export function sampleSpecs(inputs: readonly InputSpec[]): InputSpec[] {
  const whole = new Set(inputs.map((i) => i.shape[0])).size > 1 || inputs.some((i) => i.shape.length === 0);
  return inputs.map(({ name, dtype, shape }) => ({ name, dtype, shape: whole ? [1, ...shape] : shape }));
}

/** Contiguous part (`end` exclusive) or explicit indices, in the order wanted. */
export type SampleRange = { readonly start?: number; readonly end?: number } | readonly number[];

/** A labelled or unlabelled set of samples with random access; samples are made on demand. */
export interface DataSource {
  readonly kind: string;
  readonly size: number;
  /** Every sample carries a label. */
  readonly labelled: boolean;
  /** Class names by index, where the source knows them. */
  readonly classes?: readonly string[];
  /** Hex SHA-256 that changes with the content (names relative to the source, sizes, bytes), not with its place. */
  readonly fingerprint: string;
  /** Samples in order. @throws E301 when a file of the source cannot be decoded, RangeError for indices outside it. */
  samples(range?: SampleRange): AsyncIterable<Sample>;
}
