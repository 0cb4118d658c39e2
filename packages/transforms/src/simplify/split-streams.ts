/**
 * Streams: activations that layers read and that additions, concatenations and the like read, too, as those along a residual connection. What
 * is added up must not be as coarse as what a layer multiplies, so layers read a stream through `requantize`, which has bits of its own.
 */
import { FLOAT, type Graph, IdPool, type Node, type Value, type ValueId, consumers, valueOf } from '@bitloom/ir';
import { MOVES, quantizable } from '../precision.js';

/** Puts a `requantize` between every stream and the layers that read it. */
export function splitStreams(g: Graph): Graph {
  const users = consumers(g);
  const ids = new IdPool();
  for (const id of g.values.keys()) ids.reserve(id);
  /** By value: what layers read in place of it. */
  const split = new Map<ValueId, Value>();
  const { layers, groups } = quantizable(g);
  const layerNodes = new Set(layers.map((l) => l.node));
  for (const { values, layers: readers } of groups) {
    const streams = readers.length > 0 && values.some((v) => (users.get(v) ?? []).some((n) => !layerNodes.has(n) && !MOVES.has(n.op)));
    if (!streams) continue;
    for (const from of new Set(readers.map((l) => l.input))) {
      const { name, type } = valueOf(g, from);
      split.set(from, { id: ids.fresh(`${from}.requantized`), name: `${name}.requantized`, type, precision: FLOAT });
    }
  }
  if (split.size === 0) return g;
  const made = (from: ValueId): Value[] => (split.has(from) ? [split.get(from)!] : []);
  const requantize = (from: ValueId, origin: string): Node[] => made(from).map(({ id }) => ({ op: 'requantize', inputs: [from], outputs: [id], attrs: {}, origin }));
  const nodes = g.nodes.flatMap((n): Node[] => [
    layerNodes.has(n) && split.has(n.inputs[0]) ? { ...n, inputs: [split.get(n.inputs[0])!.id, ...n.inputs.slice(1)] } : n,
    ...n.outputs.flatMap((o) => requantize(o, n.origin)),
  ]);
  return {
    ...g,
    // Beside what they are made of: groups are listed in this order.
    values: new Map([...g.values.values()].flatMap((v) => [v, ...made(v.id)]).map((v) => [v.id, v])),
    nodes: [...g.inputs.flatMap((i) => requantize(i, valueOf(g, i).name)), ...nodes],
  };
}
