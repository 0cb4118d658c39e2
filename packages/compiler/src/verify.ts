/** WASM = C = reference, layer by layer, bit for bit. */
import { setImmediate } from 'node:timers/promises';
import { openBundle, supports } from '@bitloom/bundle';
import type { Progress } from '@bitloom/calibrate';
import { batchSize, batches, openData, sampleSpecs } from '@bitloom/data';
import { type TensorMap, runProgram } from '@bitloom/kernel-spec';
import { DTYPES, type DType, type TypedArray, bytesOf } from '@bitloom/tensor';
import { C_BATCH, NO_RELAXED, asPorts, cRunner, recordedVectors, referenceProgram, wasmLabel, wasmRunner } from './bundle-run.js';

export interface Mismatch {
  readonly vector: number;
  readonly backend: string;
  /** Call number and ONNX node; null when only outputs were compared. */
  readonly layer: number | null;
  readonly node: string;
  /** First element that differs, in memory order. */
  readonly index: number;
}

export interface VerifyReport {
  /** Runs compared, each of as many samples as the bundle's batch. */
  readonly vectors: number;
  /** Kernel calls compared on each of the samples that the reference ran. */
  readonly layers: number;
  readonly mismatches: number;
  readonly firstMismatch: Mismatch | null;
  readonly backends: readonly string[];
  /** Reasons for what could not be checked. */
  readonly skipped: readonly string[];
}

export interface VerifyOptions {
  readonly data: string | null;
  /** So many runs of `data` are done by the reference, too, and compared layer by layer. */
  readonly reference: number;
  readonly limit: number | null;
}

/** First element whose bits differ, −1 for none. Any two NaNs are equal: their payloads are not specified. */
function firstDifference(a: Uint8Array, b: Uint8Array, dtype: DType): number {
  if (Buffer.compare(a, b) === 0) return -1;
  const [x, y] = [a, b].map((bytes) => new DTYPES[dtype].array(bytes.slice().buffer));
  return x.length === y.length ? x.findIndex((v: number | bigint, i: number) => !Object.is(v, y[i])) : Math.min(x.length, y.length);
}

/** @throws E701 for a damaged bundle */
export async function verifyBundle(folder: string, o: VerifyOptions, progress: Progress = () => {}): Promise<VerifyReport> {
  const bundle = await openBundle(folder);
  const program = await referenceProgram(bundle);
  const skipped: string[] = [];
  const modules = bundle.manifest.targets.wasm?.modules ?? [];
  // The plainest first, as targets are listed.
  const wasm = await Promise.all(
    modules.filter((m) => supports(m.features)).reverse().map(async (m) => ({ label: wasmLabel(m), run: (await wasmRunner(bundle, program, m)).run })),
  );
  const c = bundle.manifest.targets.c ? await cRunner(bundle, program) : 'the bundle holds no C';
  if (modules.length === 0) skipped.push('wasm: the bundle holds no WebAssembly');
  for (const m of modules) if (!supports(m.features)) skipped.push(`${wasmLabel(m)}: ${NO_RELAXED}`);
  if (typeof c === 'string') skipped.push(`c: ${c}`);

  let vectors = 0;
  let mismatches = 0;
  let firstMismatch: Mismatch | null = null;
  const note = (m: Mismatch): void => {
    mismatches++;
    firstMismatch ??= m;
  };
  const compareOutputs = (vector: number, backend: string, expected: TensorMap, got: TensorMap): void => {
    for (const [name, t] of expected) {
      const index = firstDifference(bytesOf(t), bytesOf(got.get(name)!), t.dtype);
      if (index >= 0) note({ vector, backend, layer: null, node: name, index });
    }
  };
  const check = async (samples: readonly TensorMap[], layerwise: boolean, expected: readonly (TensorMap | null)[]): Promise<void> => {
    const cRuns = typeof c === 'string' ? null : await c.run(samples, layerwise);
    samples.forEach((inputs, k) => {
      const vector = vectors++;
      const steps: Uint8Array[][] = [];
      const keep = (_: number, __: unknown, results: readonly TypedArray[]): void =>
        void steps.push(results.map((r) => new Uint8Array(r.buffer, r.byteOffset, r.byteLength).slice()));
      const reference = layerwise ? runProgram(program, inputs, keep) : null;
      const compareStep = (backend: string, call: number, results: readonly Uint8Array[]): void => {
        results.forEach((r, i) => {
          const index = firstDifference(steps[call][i], r, program.buffers[program.calls[call].results[i]].dtype);
          if (index >= 0) note({ vector, backend, layer: call, node: program.calls[call].origin, index });
        });
      };
      const outputs = wasm.map(({ label, run }) => run(inputs, layerwise ? (call, results) => compareStep(label, call, results) : undefined));
      cRuns?.[k].steps?.forEach((results, call) => compareStep('c', call, results));
      const base = reference ?? outputs[0] ?? null;
      if (expected[k] && reference) compareOutputs(vector, 'reference', expected[k], reference);
      if (base) outputs.forEach((w, i) => w === base || compareOutputs(vector, wasm[i].label, base, w));
      if (base && cRuns) compareOutputs(vector, 'c', base, cRuns[k].outputs);
    });
  };

  try {
    if (o.data === null) {
      const recorded = await recordedVectors(bundle);
      await check(recorded.map((v) => v.inputs), true, recorded.map((v) => v.outputs));
    } else {
      const source = await openData(o.data, sampleSpecs(bundle.manifest.inputs), bundle.manifest.preprocessing);
      const total = Math.min(source.size, o.limit ?? Infinity);
      const size = batchSize(bundle.manifest.inputs);
      // Where there is only one backend, the reference alone can tell whether it is right.
      const runs = Math.min(Math.ceil(total / size), wasm.length + Number(typeof c !== 'string') > 1 ? Infinity : o.reference);
      // The last run is filled up from the start.
      const indices = Array.from({ length: runs * size }, (_, i) => i % total);
      let pending: TensorMap[] = [];
      const flush = async (layerwise: boolean): Promise<void> => {
        await check(pending, layerwise, pending.map(() => null));
        pending = [];
        progress('verify', vectors, runs);
        await setImmediate(); // a turn of the event loop, for signals
      };
      for await (const b of batches(source, size, indices)) {
        pending.push(asPorts(bundle, b.inputs));
        const layerwise = vectors < o.reference;
        if (layerwise || pending.length === C_BATCH) await flush(layerwise);
      }
      if (pending.length > 0) await flush(false);
    }
  } finally {
    if (typeof c !== 'string') await c.dispose();
  }
  const backends = ['reference', ...wasm.map((w) => w.label), ...(typeof c === 'string' ? [] : ['c'])];
  return { vectors, layers: program.calls.length, mismatches, firstMismatch, backends, skipped };
}
