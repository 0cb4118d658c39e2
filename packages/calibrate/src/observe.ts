/** Runs a float graph over data and watches chosen values. */
import { fail } from '@bitloom/diagnostics';
import { type DataSource, batchSize, batches } from '@bitloom/data';
import { compileGraph } from '@bitloom/engine';
import { type Graph, type ValueId, typeOf, valueOf } from '@bitloom/ir';
import { type Tensor, reshape } from '@bitloom/tensor';
import { type Histogram, BINS, accumulate, extend } from './histogram.js';

/** Reports progress of a long step: `done` of `total` units. */
export type Progress = (step: string, done: number, total: number) => void;

/** Samples per run of a graph, see {@link batchSize}. */
export const batchOf = (g: Graph): number => batchSize(g.inputs.map((id) => typeOf(g, id)));

/**
 * Batches of exactly the graph's batch size, keyed by value id. The last one is filled up with samples from the beginning;
 * `count` says how many are new.
 * @param skip batches left out at the beginning
 * @throws E303 when the source is empty
 */
export async function* graphBatches(
  g: Graph, source: DataSource, skip = 0,
): AsyncGenerator<{ inputs: Map<ValueId, Tensor>; labels?: Int32Array; count: number }> {
  const size = batchOf(g);
  if (source.size === 0) fail('E303', 'the data set is empty', { found: source.kind, remedy: 'give at least one sample' });
  const padded = Math.ceil(source.size / size) * size;
  const indices = Array.from({ length: padded }, (_, i) => i % source.size).slice(skip * size);
  let left = source.size - skip * size;
  for await (const b of batches(source, size, indices)) {
    const inputs = new Map(g.inputs.map((id) => {
      const { name, type } = valueOf(g, id);
      return [id, reshape(b.inputs.get(name) ?? fail('E302', 'the data has no such input', { node: name }), type.shape)];
    }));
    yield { inputs, labels: b.labels, count: Math.min(size, left) };
    left -= size;
  }
}

/** Elements of the first `count` of `batch` samples; all where the leading dimension does not hold the samples. */
export function firstSamples(t: Tensor, batch: number, count: number): Float32Array {
  const data = t.data as Float32Array;
  return t.shape.length > 0 && t.shape[0] % batch === 0 ? data.subarray(0, (data.length / batch) * count) : data;
}

/** Elements of what the first pass saw that the second need not compute again. */
const KEPT_ELEMENTS = 2 ** 26;

/**
 * Histograms of values over a data set: one pass for the ranges, one for the counts, so that memory is bounded however large
 * the set.
 * @param room elements kept between the passes
 */
export async function collectHistograms(
  g: Graph, values: readonly ValueId[], source: DataSource, progress: Progress = () => {}, room = KEPT_ELEMENTS,
): Promise<Map<ValueId, Histogram>> {
  const inputs = new Set(g.inputs);
  const session = await compileGraph(g, values.filter((v) => !inputs.has(v)));
  const ranges = new Map(values.map((v) => [v, { min: Infinity, max: -Infinity }]));
  const kept: { results: readonly Float32Array[]; count: number }[] = [];
  async function* runs(): AsyncGenerator<(typeof kept)[number]> {
    yield* kept;
    for await (const { inputs: given, count } of graphBatches(g, source, kept.length)) {
      const out = await session.run(given);
      const results = values.map((id) => firstSamples(out.get(id) ?? given.get(id)!, batchOf(g), count));
      room -= results.reduce((n, r) => n + r.length, 0);
      if (room >= 0) kept.push({ results, count });
      yield { results, count };
    }
  }
  const pass = async (step: string, visit: (id: ValueId, data: Float32Array) => void): Promise<void> => {
    let done = 0;
    for await (const { results, count } of runs()) {
      results.forEach((r, i) => visit(values[i], r));
      done += count;
      progress(step, done, source.size);
    }
  };
  try {
    await pass('ranges', (id, data) => extend(ranges.get(id)!, data));
    const histograms = new Map<ValueId, Histogram>();
    for (const [id, r] of ranges) {
      if (r.min > r.max) fail('E208', 'a value is NaN or infinite for every calibration sample', { node: valueOf(g, id).name });
      histograms.set(id, { min: r.min, max: r.max, counts: new Float64Array(BINS) });
    }
    await pass('histograms', (id, data) => accumulate(histograms.get(id)!, data));
    return histograms;
  } finally {
    await session.close();
  }
}
