/** What can be quantised, what must agree, and how a chosen assignment enters the graph. */
import { fail } from '@bitloom/diagnostics';
import { type Graph, type Node, type Precision, type ValueId, constantData, consumers, isConst, producers, typeOf, valueOf, withPrecision } from '@bitloom/ir';
import type { Bits, QuantParams, QuantScheme } from '@bitloom/numerics';
import { elementCount } from '@bitloom/tensor';
import { isPointwise, pointwiseClusters } from './clusters.js';
import { joinStreams } from './streams.js';

/** A convolution or fully connected layer with constant weights. */
export interface Layer {
  /** ONNX node name, with #2, #3 … where one ONNX node became several layers. */
  readonly name: string;
  readonly node: Node;
  readonly input: ValueId;
  readonly weight: ValueId;
  readonly output: ValueId;
  /** Weight elements (bias excluded); 0 where an earlier layer has the same weights. */
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
  /** None for streams (see {@link splitStreams}) and what lies between layers otherwise. */
  readonly layers: readonly Layer[];
}

export interface Quantizable {
  readonly layers: readonly Layer[];
  readonly groups: readonly ActivationGroup[];
}

/** Ops whose output elements are input elements, so codes pass through unchanged. */
export const MOVES: ReadonlySet<string> = new Set(['reshape', 'transpose', 'slice', 'identity', 'max_pool', 'gather', 'expand']);
/** Ops besides layers and {@link MOVES} that gain from codes: their nests move mostly memory. */
const STREAMS = new Set(['avg_pool', 'concat', 'pad', 'resize']);

/** Names made unique: repetitions get #2, #3 … */
export function uniqueNames(names: readonly string[]): string[] {
  const seen = new Map<string, number>();
  return names.map((name) => {
    const k = (seen.get(name) ?? 0) + 1;
    seen.set(name, k);
    return k === 1 ? name : `${name}#${k}`;
  });
}

export function layersOf(g: Graph): Layer[] {
  const producer = producers(g);
  const known = new Set<ValueId>();
  const layers = g.nodes.flatMap((node): Layer[] => {
    if (node.op !== 'conv' && node.op !== 'linear') return [];
    const [input, weight] = node.inputs;
    const { dtype, shape: w } = typeOf(g, weight);
    if (constantData(producer, weight) === null || dtype !== 'f32' || w.length > 4 || elementCount(w) === 0) return [];
    const elements = elementCount(w);
    const [output] = node.outputs;
    const y = typeOf(g, output).shape;
    const params = known.has(weight) ? 0 : elements;
    known.add(weight);
    // Every output element is one dot product of length elements/outC.
    return [{ name: node.origin, node, input, weight, output, params, macs: (elementCount(y) * elements) / w[0] }];
  });
  const names = uniqueNames(layers.map((l) => l.name));
  return layers.map((l, i) => ({ ...l, name: names[i] }));
}

/** Union–find over value ids. */
class Sets {
  private readonly parent = new Map<ValueId, ValueId>();
  find(x: ValueId): ValueId {
    let root = x;
    for (let p = this.parent.get(root); p !== undefined && p !== root; p = this.parent.get(root)) root = p;
    this.parent.set(x, root);
    return root;
  }
  join(a: ValueId, b: ValueId): void {
    this.parent.set(this.find(b), this.find(a));
  }
}

/**
 * Layers, and the activations worth storing as codes: f32 values that a layer reads, or that lie between two layers beside one
 * of them or an op of {@link MOVES} or {@link STREAMS}. Values inside a fused elementwise loop, graph outputs, and what float
 * arithmetic alone makes and reads (statistics of normalisations, attention) stay float.
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
  for (const n of [...g.nodes].reverse()) if ((MOVES.has(n.op) || n.op === 'requantize') && feeds.has(n.outputs[0])) feeds.add(n.inputs[0]);

  const exact = (n: Node | undefined): boolean => n !== undefined && (layerNodes.has(n) || MOVES.has(n.op) || STREAMS.has(n.op));
  // Results of reductions, matrix products and the like, and what follows from nothing else.
  const floatOnly = new Set<ValueId>();
  for (const n of g.nodes) {
    if (isConst(n) || layerNodes.has(n)) continue;
    const operands = n.inputs.filter((i) => constantData(producer, i) === null);
    const carries = (exact(n) || isPointwise(n)) && operands.some((i) => !floatOnly.has(i));
    if (!carries) n.outputs.forEach((o) => floatOnly.add(o));
  }
  const worth = (id: ValueId): boolean => feeds.has(id) || (!floatOnly.has(id) && (exact(producer.get(id)) || (users.get(id) ?? []).some(exact)));

  const chosen = [...g.values.values()]
    .filter((v) => v.type.dtype === 'f32' && constantData(producer, v.id) === null && !interior.has(v.id) && !g.outputs.includes(v.id))
    .filter((v) => before.has(v.id) && (after.has(v.id) || feeds.has(v.id)) && worth(v.id))
    .map((v) => v.id);
  const isChosen = new Set(chosen);

  const same = new Sets();
  for (const n of g.nodes) {
    if (MOVES.has(n.op) && isChosen.has(n.inputs[0]) && isChosen.has(n.outputs[0])) same.join(n.inputs[0], n.outputs[0]);
  }
  const byRoot = new Map<ValueId, ValueId[]>();
  for (const id of chosen) byRoot.set(same.find(id), [...(byRoot.get(same.find(id)) ?? []), id]);
  return { layers, groups: [...byRoot.values()].map((values) => ({ id: values[0], values, layers: layers.filter((l) => values.includes(l.input)) })) };
}

/** One scheme per quantised value. */
export type Assignment = ReadonlyMap<ValueId, QuantScheme>;

/** Weights: signed, one scale per output channel. */
export const weightScheme = (bits: Bits): QuantScheme => ({ bits, signed: true, axis: 0 });
/** Of activations that no layer reads: they are moved and added up, never multiplied, so fewer bits would cost accuracy and save nothing. */
export const STREAM_BITS: Bits = 8;
/** Activations: unsigned codes with a zero point, one scale per tensor. */
export const activationScheme = (bits: Bits): QuantScheme => ({ bits, signed: false, axis: null });

/** Marks every quantisable value with the schemes it may take (float → candidates). */
export function markCandidates(g: Graph, weights: readonly Bits[], activations: readonly Bits[]): Graph {
  const { layers, groups } = quantizable(g);
  const marks = new Map<ValueId, Precision>();
  for (const l of layers) marks.set(l.weight, { state: 'candidates', schemes: weights.map(weightScheme) });
  for (const a of groups) for (const v of a.values) marks.set(v, { state: 'candidates', schemes: (a.layers.length > 0 ? activations : [STREAM_BITS]).map(activationScheme) });
  return withPrecision(g, 'candidates', marks);
}

/**
 * Gives each value its scheme (candidates → chosen); values the assignment leaves out become float. Layers read streams of their own bits directly.
 * @throws E502 when it names a value that is not quantisable
 */
export function applyAssignment(g: Graph, a: Assignment): Graph {
  for (const id of a.keys()) {
    const v = g.values.get(id);
    if (v?.precision.state !== 'candidates') fail('E502', 'assignment names a value that cannot be quantised', { node: v?.name ?? id });
  }
  return joinStreams(withPrecision(g, 'chosen', new Map([...g.values.values()]
    .filter((v) => v.precision.state !== 'float')
    .map((v) => [v.id, a.has(v.id) ? { state: 'chosen', scheme: a.get(v.id)! } : { state: 'float' }]))));
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
