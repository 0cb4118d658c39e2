/** Evaluation at compile time. */
import type { Rule } from '@bitloom/ir';
import { getOp, opTable } from '@bitloom/ops';
import { elementCount } from '@bitloom/tensor';

/** Elements a folded result may always have; beyond, it must not be larger than its operands, or weights would grow. */
const SMALL_RESULT = 1024;

/** f(c₁, c₂, …) = c */
export const foldConstants: Rule = {
  name: 'fold-constants',
  equation: 'f(c₁, c₂, …) = c',
  ops: null,
  apply(ctx, n) {
    // An identity of a constant is a second graph output of the same value.
    if (n.op === 'identity' || n.inputs.length === 0) return null;
    const inputs = n.inputs.map((i) => ctx.constantOf(i));
    if (!inputs.every((t) => t !== null)) return null;
    const types = n.outputs.map((o) => ctx.typeOf(o));
    const size = types.reduce((s, t) => s + elementCount(t.shape), 0);
    if (size > Math.max(SMALL_RESULT, inputs.reduce((s, t) => s + t.data.length, 0))) return null;
    const def = getOp(n.op, n.origin);
    const results = def.evaluate(inputs, def.attrs.parse(n.attrs), opTable.infer(n.op, inputs, n.attrs, n.origin));
    return results.map((t, i) => ctx.const(t, ctx.valueOf(n.outputs[i]).name));
  },
};

export const constantRules: readonly Rule[] = [foldConstants];
