/** Runs a graph op by op with the reference definition of each. */
import { fail } from '@bitloom/diagnostics';
import { type Graph, type ValueId, typeOf, valueOf } from '@bitloom/ir';
import { type Tensor, sameShape } from '@bitloom/tensor';
import { getOp } from './registry.js';
import { showType } from './shapes.js';

/**
 * Values of `wanted` (default: the graph's outputs). `inputs` are keyed by value id or by ONNX name. Only what `wanted` needs is
 * computed, and each intermediate is dropped after its last use. Precisions are ignored: this is the float semantics.
 * @throws E302 for a missing input or one of another type.
 */
export function evaluateGraph(g: Graph, inputs: ReadonlyMap<string | ValueId, Tensor>, wanted: readonly ValueId[] = g.outputs): Map<ValueId, Tensor> {
  const needed = new Set<ValueId>(wanted);
  const steps = g.nodes.toReversed().filter((n) => {
    const live = n.outputs.some((o) => needed.has(o));
    if (live) for (const i of n.inputs) needed.add(i);
    return live;
  }).reverse();
  const lastUse = new Map(steps.flatMap((n, at) => n.inputs.map((i) => [i, at] as const)));
  const keep = new Set(wanted);

  const values = new Map<ValueId, Tensor>();
  for (const id of g.inputs.filter((i) => needed.has(i))) {
    const { name, type } = valueOf(g, id);
    const t = inputs.get(id) ?? inputs.get(name) ?? fail('E302', `no value for input ${name}`, { expected: showType(type) });
    if (t.dtype !== type.dtype || !sameShape(t.shape, type.shape)) {
      fail('E302', `value of input ${name} does not fit`, { found: showType(t), expected: showType(type) });
    }
    values.set(id, t);
  }
  steps.forEach((n, at) => {
    const results = getOp(n.op, n.origin).evaluate(n.inputs.map((i) => values.get(i)!), n.attrs, n.outputs.map((o) => typeOf(g, o)));
    n.outputs.forEach((o, i) => values.set(o, results[i]));
    for (const i of [...n.inputs, ...n.outputs]) if ((lastUse.get(i) ?? at) === at && !keep.has(i)) values.delete(i);
  });
  return new Map(wanted.map((id) => [id, values.get(id) ?? fail('E901', `graph ${g.name} does not compute %${id}`)]));
}
