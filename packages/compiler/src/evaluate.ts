/** Accuracy of a float model (on onnxruntime) or of a bundle (what it ships). */
import { setImmediate } from 'node:timers/promises';
import { openBundle } from '@bitloom/bundle';
import { type Progress, graphBatches } from '@bitloom/calibrate';
import { type Preprocessing, batchSize, batches, openData, sampleSpecs, subset } from '@bitloom/data';
import { fail } from '@bitloom/diagnostics';
import { compileGraph, openModel } from '@bitloom/engine';
import { readModelFile } from '@bitloom/onnx';
import type { Tensor } from '@bitloom/tensor';
import { C_BATCH, asPorts, cRunner, referenceProgram, wasmRunner } from './bundle-run.js';
import { inputSpecs, isBundleFolder, loadModel, statisticsGraph } from './model.js';
import { outputKind } from './report.js';

export interface EvalReport {
  readonly samples: number;
  /** Share of samples whose largest output is the label, in percent; null without labels. */
  readonly top1: number | null;
  /** Mean cross-entropy in nats; null without labels. */
  readonly loss: number | null;
  /** Share of samples whose largest output is that of {@link EvalOptions.agree}, in percent; null without it. */
  readonly agreement: number | null;
}

export interface EvalOptions {
  readonly data: string;
  /** A bundle remembers its own; what stands here goes over it. */
  readonly preprocessing: Preprocessing | null;
  readonly define: Readonly<Record<string, number>>;
  readonly samples: number | null;
  readonly seed: number;
  /** For bundles with several targets. */
  readonly target: 'wasm' | 'c' | null;
  /** Added to the predicted class before it is compared (models with a background class 0 need −1). */
  readonly labelOffset: number;
  /** ONNX file that a bundle is compared with, as onnxruntime runs it without optimisations; null compares with none. */
  readonly agree: string | null;
}

/** Counts right answers and sums the loss. Outputs are logits or probabilities. */
class Score {
  samples = 0;
  private right = 0;
  private loss = 0;
  private labelled = true;
  /** Predicted class of each sample. */
  readonly tops: number[] = [];
  constructor(private readonly probabilities: boolean, private readonly offset: number) {}

  add(output: Tensor, n: number, label: number | undefined): void {
    this.samples++;
    const classes = output.data.length / output.shape[0];
    const row = Array.from({ length: classes }, (_, i) => Number(output.data[n * classes + i]));
    const top = row.reduce((best, v, i) => (v > row[best] ? i : best), 0);
    this.tops.push(top);
    if (label === undefined) {
      this.labelled = false;
      return;
    }
    if (top + this.offset === label) this.right++;
    const at = row[label - this.offset] ?? -Infinity;
    if (this.probabilities) this.loss -= Math.log(Math.max(at, 1e-30));
    else {
      const m = row[top];
      this.loss += Math.log(row.reduce((s, v) => s + Math.exp(v - m), 0)) + m - at;
    }
  }

  report(other: Score | null = null): EvalReport {
    const { samples, right, loss, tops } = this;
    const agreement = other && (100 * tops.filter((t, i) => t === other.tops[i]).length) / samples;
    return this.labelled ? { samples, top1: (100 * right) / samples, loss: loss / samples, agreement } : { samples, top1: null, loss: null, agreement };
  }
}

/** @throws E704 when the path is neither a model nor a bundle */
export async function evaluate(path: string, o: EvalOptions, progress: Progress = () => {}): Promise<EvalReport> {
  const bundle = await isBundleFolder(path);
  if (!bundle && o.agree !== null) fail('E103', 'bundles are compared with models', { node: path, found: 'an ONNX file', remedy: 'give a bundle' });
  return bundle ? evaluateBundle(path, o, progress) : evaluateModel(path, o, progress);
}

async function evaluateModel(path: string, o: EvalOptions, progress: Progress): Promise<EvalReport> {
  const model = await loadModel(path, o.define);
  const g = await statisticsGraph(model);
  const all = await openData(o.data, inputSpecs(g), o.preprocessing ?? {});
  const source = o.samples === null ? all : subset(all, o.samples, o.seed);
  const session = await compileGraph(g);
  const score = new Score(outputKind(g) === 'probabilities', o.labelOffset);
  try {
    for await (const b of graphBatches(g, source)) {
      const out = (await session.run(b.inputs)).get(g.outputs[0])!;
      for (let n = 0; n < b.count; n++) score.add(out, n, b.labels?.[n]);
      progress('eval', score.samples, source.size);
    }
  } finally {
    await session.close();
  }
  return score.report();
}

async function evaluateBundle(path: string, o: EvalOptions, progress: Progress): Promise<EvalReport> {
  const bundle = await openBundle(path);
  const m = bundle.manifest;
  const all = await openData(o.data, sampleSpecs(m.inputs), { ...m.preprocessing, ...o.preprocessing });
  const source = o.samples === null ? all : subset(all, o.samples, o.seed);
  const size = batchSize(m.inputs);
  const name = m.outputs[0].name;
  const program = await referenceProgram(bundle);
  const score = new Score(m.classifier === 'probabilities', o.labelOffset);
  const target = o.target ?? (m.targets.wasm ? 'wasm' : 'c');
  const indices = Array.from({ length: Math.ceil(source.size / size) * size }, (_, i) => i % source.size);
  let left = source.size;
  const record = (out: Tensor, labels: Int32Array | undefined): void => {
    for (let n = 0; n < Math.min(size, left); n++) score.add(out, n, labels?.[n]);
    left -= size;
    progress('eval', score.samples, source.size);
  };
  const compared = async (): Promise<EvalReport> => {
    if (o.agree === null) return score.report();
    const other = new Score(false, 0);
    const session = await openModel(await readModelFile(o.agree), { optimize: false });
    try {
      for await (const b of batches(source, size, indices)) {
        const out = (await session.run(asPorts(bundle, b.inputs))).get(name) ?? fail('E302', 'the model has no such output', { node: o.agree!, expected: name });
        for (let n = 0; n < Math.min(size, source.size - other.samples); n++) other.add(out, n, undefined);
        progress('agreement', other.samples, source.size);
      }
    } finally {
      await session.close();
    }
    return score.report(other);
  };
  if (target === 'wasm') {
    const runner = await wasmRunner(bundle);
    for await (const b of batches(source, size, indices)) {
      record(runner.run(asPorts(bundle, b.inputs)).get(name)!, b.labels);
      await setImmediate(); // a turn of the event loop, for signals
    }
    return compared();
  }
  const runner = await cRunner(bundle, program);
  if (typeof runner === 'string') fail('E603', 'the C code cannot be run here', { found: runner, remedy: 'install gcc, or evaluate --target wasm' });
  try {
    let pending: { inputs: Map<string, Tensor>; labels?: Int32Array }[] = [];
    const flush = async (): Promise<void> => {
      const runs = await runner.run(pending.map((b) => asPorts(bundle, b.inputs)));
      runs.forEach((r, i) => record(r.outputs.get(name)!, pending[i].labels));
      pending = [];
    };
    for await (const b of batches(source, size, indices)) {
      pending.push(b);
      if (pending.length === C_BATCH) await flush();
    }
    await flush();
  } finally {
    await runner.dispose();
  }
  return compared();
}
