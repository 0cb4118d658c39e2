/** What can be quantised, what must agree, and how a chosen assignment enters the graph. */
import { fail } from '@bitloom/diagnostics';
import { type Graph, type Node, type Precision, type ValueId, constantData, consumers, isConst, producers, typeOf, valueOf, withPrecision } from '@bitloom/ir';
import type { Bits, QuantParams, QuantScheme } from '@bitloom/numerics';
import { elementCount } from '@bitloom/tensor';
import { pointwiseClusters } from './clusters.js';

/** A convolution or fully connected layer with constant weights. */
export interface Layer {
  /** ONNX node name. */
  readonly name: string;
  readonly node: Node;
  readonly input: ValueId;
  readonly weight: ValueId;
  readonly output: ValueId;
  /** Weight elements (bias excluded). */
  readonly params: number;
  /** Multiply–accumulates of one run of the graph. */
  readonly macs: number;
}

/**
 * Activations that share quantisation parameters: a value and what only moves or selects its elements (reshape, transpose,
 * slice, max pooling). `layers` read one of them.
 */
export interface ActivationGroup {
  /** First value in graph order; names the group. */
  readonly id: ValueId;
  readonly values: readonly ValueId[];
  readonly layers: readonly Layer[];
  /** Groups whose bit-widths must be equal (operands of one addition or concatenation) carry the same tie. */
  readonly tie: number;
}

export interface Quantizable {
  readonly layers: readonly Layer[];
  readonly groups: readonly ActivationGroup[];
}

/** Ops whose output elements are input elements, so codes pass through unchanged. */
const MOVES = new Set(['reshape', 'transpose', 'slice', 'identity', 'max_pool', 'gather', 'expand']);

export function layersOf(g: Graph): Layer[] {
  const producer = producers(g);
  return g.nodes.flatMap((node): Layer[] => {
    if (node.op !== 'conv' && node.op !== 'linear') return [];
    const [input, weight] = node.inputs;
    const w = typeOf(g, weight).shape;
    if (constantData(producer, weight) === null || w.length > 4) return [];
    const params = elementCount(w);
    const [output] = node.outputs;
    const y = typeOf(g, output).shape;
    // Every output element is one dot product of length params/outC.
    return [{ name: node.origin, node, input, weight, output, params, macs: (elementCount(y) * params) / w[0] }];
  });
}

/** Union–find over value ids. */
class Sets {
  private readonly parent = new Map<ValueId, ValueId>();
  find(x: ValueId): ValueId {
    const p = this.parent.get(x) ?? x;
    return p === x ? x : this.find(p);
  }
  join(a: ValueId, b: ValueId): void {
    this.parent.set(this.find(b), this.find(a));
  }
}

/**
 * Layers, and the activations worth storing as codes: f32 values that a layer reads, or that lie between two layers. Values
 * inside a fused elementwise loop and graph outputs stay float.
 */
export function quantizable(g: Graph): Quantizable {
  const layers = layersOf(g);
  const producer = producers(g);
  const users = consumers(g);
  const layerNodes = new Set(layers.map((l) => l.node));
  const interior = new Set([...pointwiseClusters(g).values()].flatMap((c) => c.members.filter((m) => m !== c.root).map((m) => m.outputs[0])));

  const after = new Set<ValueId>();
  for (const n of g.nodes) if (layerNodes.has(n) || n.inputs.some((i) => after.has(i))) n.outputs.forEach((o) => after.add(o));
  const before = new Set<ValueId>();
  for (const n of [...g.nodes].reverse()) if (layerNodes.has(n) || n.outputs.some((o) => before.has(o))) n.inputs.forEach((i) => before.add(i));
  const feeds = new Set<ValueId>(layers.map((l) => l.input));
  for (const n of [...g.nodes].reverse()) if (MOVES.has(n.op) && feeds.has(n.outputs[0])) feeds.add(n.inputs[0]);

  const chosen = [...g.values.values()]
    .filter((v) => v.type.dtype === 'f32' && constantData(producer, v.id) === null && !interior.has(v.id) && !g.outputs.includes(v.id))
    .filter((v) => before.has(v.id) && (after.has(v.id) || feeds.has(v.id)) && (users.get(v.id)?.length ?? 0) > 0)
    .map((v) => v.id);
  const isChosen = new Set(chosen);

  const same = new Sets();
  const tied = new Sets();
  for (const n of g.nodes) {
    if (isConst(n)) continue;
    const ins = n.inputs.filter((i) => isChosen.has(i));
    if (MOVES.has(n.op) && isChosen.has(n.inputs[0]) && isChosen.has(n.outputs[0])) {
      same.join(n.inputs[0], n.outputs[0]);
      tied.join(n.inputs[0], n.outputs[0]);
    } else if (n.op === 'add' || n.op === 'concat') ins.slice(1).forEach((i) => tied.join(ins[0], i));
  }
  const byRoot = new Map<ValueId, ValueId[]>();
  for (const id of chosen) byRoot.set(same.find(id), [...(byRoot.get(same.find(id)) ?? []), id]);
  const ties = new Map<ValueId, number>();
  const groups = [...byRoot.values()].map((values): ActivationGroup => {
    const root = tied.find(values[0]);
    if (!ties.has(root)) ties.set(root, ties.size);
    return { id: values[0], values, layers: layers.filter((l) => values.includes(l.input)), tie: ties.get(root)! };
  });
  return { layers, groups };
}

/** One scheme per quantised value. */
export type Assignment = ReadonlyMap<ValueId, QuantScheme>;

/** Weights: signed, one scale per output channel. */
export const weightScheme = (bits: Bits): QuantScheme => ({ bits, signed: true, axis: 0 });
/** Activations: unsigned codes with a zero point, one scale per tensor. */
export const activationScheme = (bits: Bits): QuantScheme => ({ bits, signed: false, axis: null });

/** Marks every quantisable value with the schemes it may take (float → candidates). */
export function markCandidates(g: Graph, weights: readonly Bits[], activations: readonly Bits[]): Graph {
  const { layers, groups } = quantizable(g);
  const marks = new Map<ValueId, Precision>();
  for (const l of layers) marks.set(l.weight, { state: 'candidates', schemes: weights.map(weightScheme) });
  for (const v of groups.flatMap((a) => a.values)) marks.set(v, { state: 'candidates', schemes: activations.map(activationScheme) });
  return withPrecision(g, 'candidates', marks);
}

/**
 * Gives each value its scheme (candidates → chosen); values the assignment leaves out become float.
 * @throws E502 when it names a value that is not quantisable
 */
export function applyAssignment(g: Graph, a: Assignment): Graph {
  for (const id of a.keys()) {
    if (g.values.get(id)?.precision.state !== 'candidates') fail('E502', 'assignment names a value that cannot be quantised', { found: id });
  }
  return withPrecision(g, 'chosen', new Map([...g.values.values()]
    .filter((v) => v.precision.state !== 'float')
    .map((v) => [v.id, a.has(v.id) ? { state: 'chosen', scheme: a.get(v.id)! } : { state: 'float' }])));
}

/** Sets the calibrated numbers (chosen → calibrated). @throws E402 when a chosen value has none. */
export function applyCalibration(g: Graph, params: ReadonlyMap<ValueId, QuantParams>): Graph {
  return withPrecision(g, 'calibrated', new Map([...g.values.values()]
    .filter((v) => v.precision.state === 'chosen')
    .map((v) => [v.id, { state: 'calibrated', params: params.get(v.id) ?? fail('E402', 'a chosen value was not calibrated', { node: v.name }) }])));
}

/** Bits of a layer's weights and input in a chosen or calibrated graph; 32 where float. */
export function layerBits(g: Graph, l: Layer): { readonly weights: number; readonly activations: number } {
  const bits = (id: ValueId): number => {
    const p = valueOf(g, id).precision;
    return p.state === 'chosen' ? p.scheme.bits : p.state === 'calibrated' ? p.params.scheme.bits : 32;
  };
  return { weights: bits(l.weight), activations: bits(l.input) };
}
