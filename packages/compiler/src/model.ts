/** From a model file to the graphs that the pipeline works on. */
import { createHash } from 'node:crypto';
import { stat } from 'node:fs/promises';
import { basename, dirname } from 'node:path';
import { type InputSpec, sampleSpecs } from '@bitloom/data';
import { BitloomError, fail } from '@bitloom/diagnostics';
import { type Graph, type Pass, type PassHooks, type ValueId, isConst, runPasses, valueOf } from '@bitloom/ir';
import type { QuantParams } from '@bitloom/numerics';
import { type ImportOptions, importOnnx, readModelFile } from '@bitloom/onnx';
import { opTable } from '@bitloom/ops';
import { equalize } from '@bitloom/rounding';
import { elementCount } from '@bitloom/tensor';
import { FLOAT_PASSES, quantizable } from '@bitloom/transforms';

export interface LoadedModel {
  /** Simplified float graph at the batch size to compile for (1 unless --define says otherwise). */
  readonly graph: Graph;
  readonly annotations: ReadonlyMap<ValueId, QuantParams>;
  /** Layers are scaled against each other, see {@link equalize}. */
  readonly equalized: boolean;
  /** `metadata_props` of the file. */
  readonly metadata: ReadonlyMap<string, string>;
  readonly name: string;
  readonly sha256: string;
  readonly opset: number;
  readonly bytes: Uint8Array;
  readonly folder: string;
  readonly define: Readonly<Record<string, number>>;
  /** Names in `define` that are no dimension of the model. */
  readonly unusedDefines: readonly string[];
}

/** An imported graph after all float transformations. */
export function prepare(g: Graph, afterPass?: PassHooks['afterPass'], further: readonly Pass[] = []): Promise<Graph> {
  afterPass?.('import', g);
  return runPasses(g, [...FLOAT_PASSES, ...further], opTable, { afterPass });
}

const equalization = (annotations: ReadonlyMap<ValueId, QuantParams>): Pass =>
  ({ name: 'equalize', from: 'float', to: 'float', run: (g) => equalize(g, new Set(annotations.keys())) });

/** Whether a path is a folder, which only bundles are. @throws E704 when there is nothing */
export async function isBundleFolder(path: string): Promise<boolean> {
  const info = await stat(path).catch((cause: NodeJS.ErrnoException) =>
    fail('E704', 'no such model or bundle', { node: path, found: cause.code, expected: 'an ONNX file or the folder of a bundle', remedy: 'check the path' }, cause));
  return info.isDirectory();
}

/**
 * @param batch samples of a run, in place of the model's own number
 * @throws E2xx, E704; E204 where the model cannot be run on that many samples
 */
export async function loadModel(
  path: string, define: Readonly<Record<string, number>> = {}, batch: number | null = null, afterPass?: PassHooks['afterPass'], equalized = false,
): Promise<LoadedModel> {
  const bytes = await readModelFile(path);
  const name = basename(path).replace(/\.onnx$/i, '');
  const folder = dirname(path);
  const imported = importOnnx(bytes, { define, folder, name, ...(batch === null ? {} : { batch }) });
  if (batch !== null) checkBatch(imported.graph, batch);
  return {
    graph: await prepare(imported.graph, afterPass, equalized ? [equalization(imported.annotations)] : []), annotations: imported.annotations, equalized, metadata: imported.metadata, name, folder, define, bytes,
    unusedDefines: Object.keys(define).filter((d) => !imported.symbols.includes(d)), opset: imported.opset, sha256: createHash('sha256').update(bytes).digest('hex'),
  };
}

/** @throws E204 unless all inputs and outputs lead with the batch */
function checkBatch(g: Graph, batch: number): void {
  const other = [...g.inputs, ...g.outputs].find((id) => valueOf(g, id).type.shape[0] !== batch);
  if (other === undefined) return;
  const { name, type } = valueOf(g, other);
  fail('E204', 'the model cannot be compiled for that batch size', {
    node: name, found: `[${type.shape.join(', ')}] at batch ${batch}`, expected: 'inputs and outputs that lead with the batch',
    remedy: 'export the model with a symbolic batch dimension and without constant shapes inside',
  });
}

/** Activation elements of one sample above which statistics use smaller batches. */
const STATISTICS_ELEMENTS = 2 ** 26;

/** The same network at a batch size fit for statistics. Falls back to the model's own batch size where it cannot be changed. */
export async function statisticsGraph(m: LoadedModel): Promise<Graph> {
  const elements = [...m.graph.values.values()].reduce((s, v) => s + elementCount(v.type.shape), 0);
  const batch = Math.min(32, Math.floor(STATISTICS_ELEMENTS / Math.max(1, elements)));
  return (batch < 2 ? null : await atBatch(m, batch)) ?? m.graph;
}

/** The same network at another batch size; null where it cannot be changed (constant shapes inside the model). */
export async function atBatch(m: LoadedModel, batch: number): Promise<Graph | null> {
  const options: ImportOptions = { define: m.define, folder: m.folder, name: m.name, batch };
  let graph: Graph;
  try {
    graph = await prepare(importOnnx(m.bytes, options).graph, undefined, m.equalized ? [equalization(m.annotations)] : []);
  } catch (e) {
    if (e instanceof BitloomError) return null;
    throw e;
  }
  const scaled = [...graph.inputs, ...graph.outputs].every((id) => valueOf(graph, id).type.shape[0] === batch);
  return scaled && sameSites(graph, m.graph) ? graph : null;
}

/** True when both graphs have the same quantisable layers and activations under the same names. */
function sameSites(a: Graph, b: Graph): boolean {
  const key = (g: Graph): string => {
    const q = quantizable(g);
    return JSON.stringify([q.layers.map((l) => [l.name, l.weight, l.params]), q.groups.map((x) => x.values)]);
  };
  return key(a) === key(b);
}

/** What data must deliver for a graph. */
export const inputSpecs = (g: Graph): InputSpec[] => sampleSpecs(g.inputs.map((id) => ({ name: valueOf(g, id).name, ...valueOf(g, id).type })));

/** Elements of all constants. */
export const parameterCount = (g: Graph): number => g.nodes.reduce((s, n) => s + (isConst(n) ? n.attrs.data.data.length : 0), 0);
