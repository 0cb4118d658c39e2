/** Reverse-mode differentiation, graph to graph. Gradients are core ops, so the result can be differentiated again. */
import { fail } from '@bitloom/diagnostics';
import { type Graph, GraphBuilder, type ValueId, isConst } from '@bitloom/ir';
import { compose, getOp, opTable } from '@bitloom/ops';

/**
 * Appends to `b` (which holds all of `g`) the vector–Jacobian products of `g`.
 * @param seeds cotangent of some values of `g`, of the same shape
 * @param wrt values whose cotangents are wanted
 * @returns for each of `wrt` the value that holds its cotangent, null where it is zero
 * @throws E403 when the path runs through an op without gradient
 */
export function addGradients(b: GraphBuilder, g: Graph, seeds: ReadonlyMap<ValueId, ValueId>, wrt: readonly ValueId[]): Map<ValueId, ValueId | null> {
  const cotangents = new Map<ValueId, ValueId>(seeds);
  const accumulate = (id: ValueId, d: ValueId): void => {
    const known = cotangents.get(id);
    cotangents.set(id, known === undefined ? d : b.add('add', [known, d]));
  };
  // Only nodes between `wrt` and the seeds matter: needed = depends on some of `wrt`.
  const needed = new Set<ValueId>(wrt);
  for (const n of g.nodes) if (n.inputs.some((i) => needed.has(i))) n.outputs.forEach((o) => needed.add(o));

  for (const n of [...g.nodes].reverse()) {
    if (isConst(n) || !n.inputs.some((i) => needed.has(i)) || !n.outputs.some((o) => cotangents.has(o))) continue;
    const op = getOp(n.op, n.origin);
    if (!op.gradient) fail('E403', `no gradient flows through ${n.op}`, { node: n.origin });
    b.origin = `gradient of ${n.origin}`;
    const ds = op.gradient(b, { inputs: n.inputs, outputs: n.outputs, attrs: n.attrs, cotangents: n.outputs.map((o) => cotangents.get(o) ?? null) });
    // An input used twice gets both contributions, in operand order.
    n.inputs.forEach((i, k) => {
      const d = ds[k];
      if (d && needed.has(i)) accumulate(i, d);
    });
  }
  return new Map(wrt.map((id) => [id, cotangents.get(id) ?? null]));
}

/**
 * The graph of d(scalar)/d(wrt): outputs are the gradients in the order of `wrt` (zeros where nothing flows).
 * @param of a value with one element
 * @throws E403 when `of` has more, or the path runs through an op without gradient
 */
export function gradientGraph(g: Graph, of: ValueId, wrt: readonly ValueId[]): Graph {
  const b = GraphBuilder.from(g, opTable);
  const type = b.typeOf(of);
  if (type.shape.some((d) => d !== 1)) fail('E403', 'only a scalar has a gradient', { node: of, found: `[${type.shape.join(', ')}]` });
  const one = compose.broadcastTo(b, compose.scalarLike(b, of, 1), type.shape);
  const grads = addGradients(b, g, new Map([[of, one]]), wrt);
  return b.build(wrt.map((id) => grads.get(id) ?? compose.zerosLike(b, id)));
}
