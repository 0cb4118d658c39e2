/** Streams: see {@link splitStreams}. */
import { type Graph, type Precision, type ValueId, valueOf } from '@bitloom/ir';

const sameBits = (a: Precision, b: Precision): boolean =>
  (a.state === 'float' && b.state === 'float') || (a.state === 'chosen' && b.state === 'chosen' && a.scheme.bits === b.scheme.bits);

/** Drops every `requantize` from bits to the same bits, or from float to float. */
export function joinStreams(g: Graph): Graph {
  const joined = new Map<ValueId, ValueId>();
  const of = (id: ValueId): ValueId => joined.get(id) ?? id;
  for (const { op, inputs: [from], outputs: [to] } of g.nodes) {
    if (op === 'requantize' && !g.outputs.includes(to) && sameBits(valueOf(g, from).precision, valueOf(g, to).precision)) joined.set(to, of(from));
  }
  if (joined.size === 0) return g;
  return {
    ...g,
    values: new Map([...g.values].filter(([id]) => !joined.has(id))),
    nodes: g.nodes.filter((n) => !joined.has(n.outputs[0])).map((n) => (n.inputs.some((i) => joined.has(i)) ? { ...n, inputs: n.inputs.map(of) } : n)),
  };
}
