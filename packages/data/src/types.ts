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
