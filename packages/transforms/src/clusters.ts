/** Which elementwise nodes become one loop nest. Shared by lowering and by the choice of values to quantise. */
import { type Graph, type Node, type ValueId, consumers, isConst, producers, typeOf, valueOf } from '@bitloom/ir';
import { getOp } from '@bitloom/ops';
import { sameShape } from '@bitloom/tensor';

/** An elementwise root and the elementwise producers computed inside its loop; `leaves` are its operands. */
export interface Cluster {
  readonly root: Node;
  readonly members: readonly Node[];
  readonly leaves: readonly ValueId[];
}

const MAX_MEMBERS = 24;
const MAX_LEAVES = 8;
/** Narrower integers wrap when stored, so they are not kept in registers. */
const FUSABLE = new Set(['f32', 'f64', 'i32', 'i64', 'bool']);

export const isPointwise = (n: Node): boolean => !isConst(n) && getOp(n.op, n.origin).scalar !== null;

/**
 * Partition of the elementwise nodes: a producer joins its only consumer when its value has the consumer's shape, is not
 * stored quantised and is no graph output. Keyed by root.
 */
export function pointwiseClusters(g: Graph): ReadonlyMap<Node, Cluster> {
  const producer = producers(g);
  const users = consumers(g);
  const outputs = new Set(g.outputs);
  const absorbed = new Set<Node>();
  const clusters = new Map<Node, Cluster>();
  for (const root of [...g.nodes].reverse()) {
    if (absorbed.has(root) || !isPointwise(root)) continue;
    const shape = typeOf(g, root.outputs[0]).shape;
    const members: Node[] = [root];
    const leaves = new Set(root.inputs);
    for (let grown = true; grown; ) {
      grown = false;
      for (const leaf of leaves) {
        const p = producer.get(leaf);
        const v = valueOf(g, leaf);
        if (!p || !isPointwise(p) || outputs.has(leaf) || users.get(leaf)!.length !== 1 || v.precision.state === 'calibrated') continue;
        if (!sameShape(v.type.shape, shape) || !FUSABLE.has(v.type.dtype)) continue;
        const next = new Set([...leaves].filter((l) => l !== leaf).concat(p.inputs));
        if (members.length >= MAX_MEMBERS || next.size > MAX_LEAVES) continue;
        members.push(p);
        absorbed.add(p);
        leaves.clear();
        next.forEach((l) => leaves.add(l));
        grown = true;
        break;
      }
    }
    clusters.set(root, { root, members, leaves: [...leaves] });
  }
  return clusters;
}
