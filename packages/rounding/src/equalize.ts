/** Cross-layer equalisation: the same function with weights that are easier to quantise (Nagel et al., arXiv 1906.04721, §4.1). */
import { type Graph, type Node, type ValueId, constantData, consumers, deadCode, producers, typeOf } from '@bitloom/ir';
import type { Activation } from '@bitloom/ops';
import { type Tensor, tensor } from '@bitloom/tensor';
import { type Layer, type LayerConstants, layersOf, replaceConstants } from '@bitloom/transforms';

/** Ops that commute with a positive factor for each channel, besides layers' own activations. */
const HOMOGENEOUS = new Set(['relu', 'max_pool', 'avg_pool', 'identity']);
/** Passes over all pairs, so that chains of layers settle. */
const PASSES = 20;
const TOLERANCE = 1e-3;

/** Layers of which the second alone reads the first, through nothing but what is positively homogeneous. */
interface Pair {
  readonly first: Layer;
  readonly second: Layer;
}

const homogeneous = (a: Activation): boolean => !a || ((a.min === 0 || a.min === -Infinity) && a.max === Infinity);

/** Pairs in graph order. @param frozen values that must stay, with what they are quantised by in the model itself */
function pairs(g: Graph, frozen: ReadonlySet<ValueId>): Pair[] {
  const producer = producers(g);
  const users = consumers(g);
  const all = layersOf(g);
  const layerOf = new Map(all.map((l) => [l.node, l]));
  const readers = new Map<ValueId, number>();
  for (const l of all) readers.set(l.weight, (readers.get(l.weight) ?? 0) + 1);
  const free = (l: Layer): boolean => readers.get(l.weight) === 1 && !frozen.has(l.weight)
    && (l.node.inputs[2] === undefined || constantData(producer, l.node.inputs[2]) !== null);
  return all.flatMap((first): Pair[] => {
    if (!free(first) || !homogeneous((first.node.attrs as { activation?: Activation }).activation)) return [];
    for (let at = first.output; ;) {
      const readersOf: readonly Node[] = users.get(at) ?? [];
      if (readersOf.length !== 1 || g.outputs.includes(at) || frozen.has(at)) return [];
      const [n] = readersOf;
      const second = layerOf.get(n);
      // Fully connected layers have their channels last, convolutions second.
      if (second) return second.input === at && n.inputs.lastIndexOf(at) === 0 && n.op === first.node.op && free(second) ? [{ first, second }] : [];
      if (!HOMOGENEOUS.has(n.op)) return [];
      [at] = n.outputs;
    }
  });
}

/** Channel that each element of a second layer's weights multiplies. */
function inputChannel(l: Layer, shape: readonly number[]): (i: number) => number {
  const [rows, perGroup, ...kernel] = shape;
  const taps = kernel.reduce((p, k) => p * k, 1);
  const groups = l.node.op === 'conv' ? (l.node.attrs as { group: number }).group : 1;
  return (i) => Math.floor((Math.floor(i / (perGroup * taps)) * groups) / rows) * perGroup + (Math.floor(i / taps) % perGroup);
}

/**
 * Scales channels between pairs of layers so that each has the same largest weight on both sides: s = √(r₁·r₂)/r₂ for the ranges r₁ of a first
 * layer's output channels and r₂ of the second's input channels, W₁ ← W₁/s, b₁ ← b₁/s, W₂ ← W₂·s. Results agree up to f32 rounding.
 * @param frozen values that must not change
 */
export function equalize(g: Graph, frozen: ReadonlySet<ValueId> = new Set()): Graph {
  const producer = producers(g);
  const found = pairs(g, frozen);
  const weights = new Map<string, Float32Array>();
  const biases = new Map<string, Float32Array>();
  for (const l of found.flatMap((p) => [p.first, p.second])) {
    weights.set(l.name, (constantData(producer, l.weight)!.data as Float32Array).slice());
    if (l.node.inputs[2] !== undefined) biases.set(l.name, (constantData(producer, l.node.inputs[2])!.data as Float32Array).slice());
  }
  for (let pass = 0, change = Infinity; pass < PASSES && change > TOLERANCE; pass++) {
    change = 0;
    for (const { first, second } of found) {
      const [one, two] = [weights.get(first.name)!, weights.get(second.name)!];
      const channels = typeOf(g, first.weight).shape[0];
      const inner = one.length / channels;
      const of = inputChannel(second, typeOf(g, second.weight).shape);
      const [r1, r2] = [new Float64Array(channels), new Float64Array(channels)];
      one.forEach((w, i) => (r1[Math.floor(i / inner)] = Math.max(r1[Math.floor(i / inner)], Math.abs(w))));
      two.forEach((w, i) => (r2[of(i)] = Math.max(r2[of(i)], Math.abs(w))));
      // Channels without weights on one side have nothing to gain.
      const s = r1.map((r, c) => (r > 0 && r2[c] > 0 ? Math.sqrt(r / r2[c]) : 1));
      one.forEach((w, i) => (one[i] = w / s[Math.floor(i / inner)]));
      two.forEach((w, i) => (two[i] = w * s[of(i)]));
      biases.get(first.name)?.forEach((v, c, b) => (b[c] = v / s[c]));
      for (const v of s) change = Math.max(change, Math.abs(Math.log(v)));
    }
  }
  const shapeOf = new Map(layersOf(g).map((l) => [l.name, typeOf(g, l.weight).shape]));
  const constants = new Map([...weights].map(([name, w]): [string, LayerConstants] => {
    const weight: Tensor = tensor('f32', shapeOf.get(name)!, w);
    return [name, { weight, ...(biases.has(name) ? { bias: biases.get(name)! } : {}) }];
  }));
  return found.length === 0 ? g : deadCode(replaceConstants(g, constants));
}
