/** New numbers for layers of a graph that stays as it is. */
import { FLOAT, type Graph, IdPool, type Node, type ValueId, typeOf, valueOf } from '@bitloom/ir';
import { type Tensor, tensor } from '@bitloom/tensor';
import { layersOf } from './precision.js';

export interface LayerConstants {
  readonly weight?: Tensor;
  readonly bias?: Float32Array;
}

/** The graph with weights or biases of some layers (by name) replaced; a layer without bias may get one. New weights have the precision of the old. Constants that nothing uses any more stay. */
export function replaceConstants(g: Graph, layers: ReadonlyMap<string, LayerConstants>): Graph {
  const values = new Map(g.values);
  const ids = new IdPool();
  for (const id of values.keys()) ids.reserve(id);
  const layerOf = new Map(layersOf(g).map((l) => [l.node, l]));
  const nodes = g.nodes.flatMap((n): Node[] => {
    const l = layerOf.get(n);
    const { weight, bias } = (l && layers.get(l.name)) ?? {};
    const made: Node[] = [];
    const constant = (what: string, data: Tensor, precision = FLOAT): ValueId => {
      const id = ids.fresh(`${n.outputs[0]}.${what}`);
      values.set(id, { id, name: `${n.origin}.${what}`, type: { dtype: data.dtype, shape: data.shape }, precision });
      made.push({ op: 'const', inputs: [], outputs: [id], attrs: { data }, origin: n.origin });
      return id;
    };
    if (!weight && !bias) return [n];
    const inputs = [n.inputs[0], weight ? constant('weight', tensor('f32', typeOf(g, l!.weight).shape, weight.data), valueOf(g, l!.weight).precision) : n.inputs[1], ...n.inputs.slice(2)];
    if (bias) inputs[2] = constant('bias', tensor('f32', [bias.length], bias));
    return [...made, { ...n, inputs }];
  });
  return { ...g, values, nodes };
}
