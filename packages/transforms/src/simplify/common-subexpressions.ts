/** f(x) and f(x) are one value. */
import { type Graph, GraphEditor, type Node, type RuleContext, type ValueId, isConst } from '@bitloom/ir';
import { opTable } from '@bitloom/ops';
import { type Tensor, bytesOf, sameShape } from '@bitloom/tensor';
import { WEIGHTED } from './util.js';

/** Text that two attribute values share if and only if they are equal: keys in order, −0 and the non-finite numbers told apart. */
function canonical(v: unknown): string {
  if (typeof v === 'number') return Object.is(v, -0) ? '-0' : String(v);
  if (Array.isArray(v)) return `[${v.map(canonical).join(',')}]`;
  if (typeof v !== 'object' || v === null) return JSON.stringify(v) ?? 'undefined';
  const entries = Object.entries(v).filter(([, x]) => x !== undefined).sort(([a], [b]) => (a < b ? -1 : 1));
  return `{${entries.map(([k, x]) => `${JSON.stringify(k)}:${canonical(x)}`).join(',')}}`;
}

/** FNV-1a over the bytes. */
function hash(t: Tensor): number {
  let h = 0x811c9dc5;
  for (const byte of bytesOf(t)) h = Math.imul(h ^ byte, 0x01000193);
  return h >>> 0;
}

const sameTensor = (a: Tensor, b: Tensor): boolean =>
  a.dtype === b.dtype && sameShape(a.shape, b.shape) && Buffer.compare(bytesOf(a), bytesOf(b)) === 0;

/** Weights stay apart: the layers that read them may get different bit-widths. */
const isWeight = (ctx: RuleContext, id: ValueId): boolean => ctx.usersOf(id).some((u) => WEIGHTED.has(u.op) && u.inputs[1] === id);

/**
 * Later nodes that compute what an earlier one does are replaced by it: same op, operands and attributes, or constants of the same
 * content. Two graph outputs are never made one.
 * @returns the same graph object when there is nothing to do
 */
export function eliminateCommonSubexpressions(g: Graph): Graph {
  const editor = new GraphEditor(g, opTable);
  const seen = new Map<string, { readonly node: Node; outputs: readonly ValueId[] }[]>();
  let count = 0;
  editor.visit((ctx, node) => {
    const data = isConst(node) ? node.attrs.data : null;
    if (data && isWeight(ctx, node.outputs[0])) return null;
    const key = data ? `const ${data.dtype} ${hash(data)}` : `${node.op} ${node.inputs.join(' ')} ${canonical(node.attrs)}`;
    const bucket = seen.get(key) ?? [];
    seen.set(key, bucket);
    const found = bucket.find((e) => !data || (isConst(e.node) && sameTensor(e.node.attrs.data, data)));
    if (!found) {
      bucket.push({ node, outputs: node.outputs });
      return null;
    }
    if (node.outputs.some((o, i) => ctx.isOutput(o) && ctx.isOutput(found.outputs[i]))) return null;
    const earlier = found.outputs;
    // The earlier value takes over the id of a graph output.
    found.outputs = earlier.map((e, i) => (ctx.isOutput(node.outputs[i]) ? node.outputs[i] : e));
    return earlier;
  }, () => count++);
  return count === 0 ? g : editor.build();
}
