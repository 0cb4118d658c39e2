/** What a model or a bundle consists of. */
import { type Manifest, openBundle } from '@bitloom/bundle';
import { type Graph, type Node, isConst, typeOf } from '@bitloom/ir';
import { elementCount } from '@bitloom/tensor';
import { layersOf } from '@bitloom/transforms';
import { referenceProgram } from './bundle-run.js';
import { isBundleFolder, loadModel, parameterCount } from './model.js';
import { type PortReport, portOf } from './report.js';

export interface ModelReport {
  readonly kind: 'model';
  readonly name: string;
  readonly sha256: string;
  readonly opset: number;
  readonly inputs: readonly PortReport[];
  readonly outputs: readonly PortReport[];
  /** Elements of all constants after simplification. */
  readonly parameters: number;
  /** Multiply–accumulates of convolutions, transposed convolutions and matrix products. */
  readonly macs: number;
  /** Core operations after simplification, by falling count. */
  readonly ops: Readonly<Record<string, number>>;
  readonly layers: readonly {
    readonly name: string; readonly op: string; readonly input: readonly number[]; readonly weights: readonly number[]; readonly output: readonly number[];
    readonly params: number; readonly macs: number;
  }[];
}

export interface BundleReport {
  readonly kind: 'bundle';
  readonly name: string;
  readonly model: Manifest['model'];
  readonly generator: Manifest['generator'];
  readonly targets: readonly string[];
  readonly inputs: Manifest['inputs'];
  readonly outputs: Manifest['outputs'];
  readonly bytes: Manifest['bytes'];
  readonly latency: Manifest['latency'];
  readonly bits: Manifest['bits'];
  readonly cost: Manifest['cost'];
  readonly search: Manifest['search'];
  readonly calibration: Manifest['calibration'];
  readonly preprocessing: Manifest['preprocessing'];
  /** `bytes` of packed weights; `kernel` by target. */
  readonly layers: readonly (Manifest['layers'][number] & { readonly bytes: number })[];
  readonly files: Readonly<Record<string, number>>;
}

/** Multiply–accumulates of one node. */
function macsOf(g: Graph, n: Node): number {
  const shape = (i: number): readonly number[] => typeOf(g, n.inputs[i]).shape;
  const out = (): number => elementCount(typeOf(g, n.outputs[0]).shape);
  if (n.op === 'conv' || n.op === 'linear') return (out() * elementCount(shape(1))) / Math.max(1, shape(1)[0]);
  if (n.op === 'conv_transpose') return (elementCount(shape(0)) * elementCount(shape(1))) / Math.max(1, shape(1)[0]);
  return n.op === 'matmul' ? out() * shape(0)[shape(0).length - 1] : 0;
}

/** @param define values of symbolic dimensions, for models @throws E704 when the path is neither a model nor a bundle */
export async function inspect(path: string, define: Readonly<Record<string, number>> = {}): Promise<ModelReport | BundleReport> {
  return (await isBundleFolder(path)) ? inspectBundle(path) : inspectModel(path, define);
}

async function inspectModel(path: string, define: Readonly<Record<string, number>>): Promise<ModelReport> {
  const { graph: g, name, sha256, opset } = await loadModel(path, define);
  const counts = new Map<string, number>();
  for (const n of g.nodes) if (!isConst(n)) counts.set(n.op, (counts.get(n.op) ?? 0) + 1);
  return {
    kind: 'model', name, sha256, opset,
    inputs: g.inputs.map((id) => portOf(g, id)),
    outputs: g.outputs.map((id) => portOf(g, id)),
    parameters: parameterCount(g),
    macs: g.nodes.reduce((s, n) => s + macsOf(g, n), 0),
    ops: Object.fromEntries([...counts].sort(([a, i], [b, k]) => k - i || (a < b ? -1 : 1))),
    layers: layersOf(g).map((l) => ({
      name: l.name, op: l.node.op, params: l.params, macs: l.macs,
      input: typeOf(g, l.input).shape, weights: typeOf(g, l.weight).shape, output: typeOf(g, l.output).shape,
    })),
  };
}

async function inspectBundle(path: string): Promise<BundleReport> {
  const bundle = await openBundle(path);
  const m = bundle.manifest;
  const program = await referenceProgram(bundle);
  const packed = new Map(m.reference.table.map((k) => [k.buffer, k.bytes]));
  const weights = new Map(program.calls.filter((c) => c.family === 'conv').map((c) => [c.origin, packed.get(c.args[1]) ?? 0]));
  return {
    kind: 'bundle', name: m.model.name, model: m.model, generator: m.generator, targets: Object.keys(m.targets), inputs: m.inputs, outputs: m.outputs,
    bytes: m.bytes, latency: m.latency, bits: m.bits, cost: m.cost, search: m.search, calibration: m.calibration, preprocessing: m.preprocessing,
    layers: m.layers.map((l) => ({ ...l, bytes: weights.get(l.name) ?? 0 })),
    files: Object.fromEntries(Object.entries(m.files).map(([file, f]) => [file, f.bytes])),
  };
}
