import { createHash } from 'node:crypto';
import { type Tensor, Rng, allocate, isFloat } from '@bitloom/tensor';
import type { DataSource, InputSpec, Sample, SampleRange } from './types.js';

export const sha256 = (...parts: readonly (string | Uint8Array)[]): string => {
  const hash = createHash('sha256');
  for (const part of parts) hash.update(part);
  return hash.digest('hex');
};

function indicesOf(size: number, range: SampleRange = {}): readonly number[] {
  if (!('length' in range)) {
    const start = Math.max(0, range.start ?? 0);
    const end = Math.min(size, range.end ?? size);
    return Array.from({ length: Math.max(0, end - start) }, (_, i) => start + i);
  }
  for (const i of range) if (!Number.isInteger(i) || i < 0 || i >= size) throw new RangeError(`sample ${i} of ${size}`);
  return range;
}

/**
 * A source over random access `load`. Up to `readAhead` samples are under way at a time; they come out in order.
 * `fingerprint` is a function where hashing costs, called on first use.
 */
export function makeSource(
  about: { kind: string; size: number; labelled: boolean; classes?: readonly string[]; fingerprint: string | (() => string) },
  load: (index: number) => Sample | Promise<Sample>,
  readAhead = 1,
): DataSource {
  const { fingerprint, ...rest } = about;
  let hash = typeof fingerprint === 'string' ? fingerprint : undefined;
  return {
    ...rest,
    get fingerprint(): string {
      return (hash ??= (fingerprint as () => string)());
    },
    async *samples(range) {
      const queue: Promise<Sample>[] = [];
      for (const index of indicesOf(about.size, range)) {
        const next = (async () => load(index))();
        next.catch(() => undefined); // thrown where the sample is awaited; one that never is must not end the process
        queue.push(next);
        if (queue.length >= readAhead) yield await queue.shift()!;
      }
      for (const last of queue) yield await last;
    },
  };
}

/**
 * Random inputs for when there is no data: standard normal for floats, zeros for integers and booleans, no labels.
 * Sample `i` depends on `seed` and `i` alone.
 */
export function syntheticSource(inputs: readonly InputSpec[], count: number, seed: number): DataSource {
  const fingerprint = sha256(JSON.stringify(['synthetic', inputs.map((i) => [i.name, i.dtype, i.shape]), count, seed]));
  return makeSource({ kind: 'synthetic', size: count, labelled: false, fingerprint }, (index) => {
    const rng = new Rng(seed ^ Math.imul(index + 1, 0x85ebca6b));
    const make = (input: InputSpec): Tensor => {
      const t = allocate(input.dtype, input.shape.slice(1));
      if (isFloat(t.dtype)) for (let i = 0; i < t.data.length; i++) t.data[i] = Math.fround(rng.normal());
      return t;
    };
    return { inputs: new Map(inputs.map((input) => [input.name, make(input)])) };
  });
}

/** Some samples of a source, in the order of `indices`. @param name with `parameters`: how they were chosen, for the fingerprint */
export function picked(source: DataSource, indices: readonly number[], name: string, ...parameters: readonly number[]): DataSource {
  return {
    kind: source.kind,
    size: indices.length,
    labelled: source.labelled,
    classes: source.classes,
    get fingerprint(): string {
      return sha256(JSON.stringify([name, source.fingerprint, ...parameters]));
    },
    samples: (range) => source.samples(indicesOf(indices.length, range).map((i) => indices[i])),
  };
}

/**
 * `count` samples drawn at random without replacement, in random order (all of them when the source is smaller).
 * Folders of images, and many archives, are sorted by class: their first N samples show one class only, which is no
 * basis for calibration. Take subsets with this.
 */
export function subset(source: DataSource, count: number, seed: number): DataSource {
  const chosen = Array.from(new Rng(seed).permutation(source.size).subarray(0, Math.max(0, count)));
  return picked(source, chosen, 'subset', chosen.length, seed);
}

/** The same source with its samples kept in memory once they have been made, as long as they fit into `maxBytes`. */
export function remembered(source: DataSource, maxBytes: number): DataSource {
  const kept = new Map<number, Sample>();
  let room = maxBytes;
  return {
    kind: source.kind,
    size: source.size,
    labelled: source.labelled,
    classes: source.classes,
    get fingerprint(): string {
      return source.fingerprint;
    },
    async *samples(range) {
      const indices = indicesOf(source.size, range);
      const missing = source.samples([...new Set(indices)].filter((i) => !kept.has(i)))[Symbol.asyncIterator]();
      const passing = new Map<number, Sample>();
      for (const i of indices) {
        let sample = kept.get(i) ?? passing.get(i);
        if (!sample) {
          sample = (await missing.next()).value as Sample;
          const bytes = [...sample.inputs.values()].reduce((n, t) => n + t.data.byteLength, 0);
          if (bytes <= room) {
            room -= bytes;
            kept.set(i, sample);
          } else passing.set(i, sample);
        }
        yield sample;
      }
    },
  };
}

export interface Batch {
  /** By input name, shape [count, …sample shape]. */
  readonly inputs: Map<string, Tensor>;
  /** Present when the source is labelled. */
  readonly labels?: Int32Array;
  readonly count: number;
}

/**
 * Samples stacked along a new first dimension, streamed; the last batch holds what is left.
 * @param indices which samples, in this order (default all)
 */
export async function* batches(source: DataSource, batchSize: number, indices: readonly number[] = indicesOf(source.size)): AsyncGenerator<Batch> {
  if (!Number.isInteger(batchSize) || batchSize < 1) throw new RangeError(`batch size ${batchSize}`);
  let done = 0;
  let pending: Sample[] = [];
  for await (const sample of source.samples(indices)) {
    pending.push(sample);
    if (pending.length === Math.min(batchSize, indices.length - done)) {
      yield stack(pending, source.labelled);
      done += pending.length;
      pending = [];
    }
  }
}

function stack(samples: readonly Sample[], labelled: boolean): Batch {
  const inputs = new Map<string, Tensor>();
  for (const [name, first] of samples[0].inputs) {
    const out = allocate(first.dtype, [samples.length, ...first.shape]);
    samples.forEach((s, i) => (out.data as Float32Array).set(s.inputs.get(name)!.data as Float32Array, i * first.data.length));
    inputs.set(name, out);
  }
  return { inputs, labels: labelled ? Int32Array.from(samples, (s) => s.label!) : undefined, count: samples.length };
}
