/** Operations that change nothing. */
import type { Node, Rule, RuleContext, ValueId } from '@bitloom/ir';
import type { ClipAttrs, PadAttrs, SliceAttrs, TransposeAttrs } from '@bitloom/ops';
import { attrsOf, sameType, uniformOf } from './util.js';

/** The operand that stays when the other is a constant all of whose elements are `neutral`, if it has the result's type. */
function besideNeutral(ctx: RuleContext, n: Node, neutral: number, sides: readonly number[]): ValueId | null {
  for (const side of sides) {
    const other = n.inputs[1 - side];
    if (uniformOf(ctx.constantOf(n.inputs[side])) === neutral && sameType(ctx, other, n.outputs[0])) return other;
  }
  return null;
}

const keeps = (ctx: RuleContext, n: Node): ValueId | null => (sameType(ctx, n.inputs[0], n.outputs[0]) ? n.inputs[0] : null);

/** identity(x) = x */
const dropIdentity: Rule = { name: 'drop-identity', equation: 'identity(x) = x', ops: ['identity'], apply: (_, n) => n.inputs[0] };

/** x as its own element type or shape; nothing padded; a concatenation of one */
const dropSameType: Rule = {
  name: 'drop-same-type',
  equation: 'cast(x, type of x) = reshape(x, shape of x) = expand(x, shape of x) = concat(x) = x',
  ops: ['cast', 'reshape', 'expand', 'concat'],
  apply: (ctx, n) => (n.inputs.length === 1 ? keeps(ctx, n) : null),
};

/** transpose(x, [0, 1, …]) = x */
const dropTranspose: Rule = {
  name: 'drop-transpose',
  equation: 'transpose(x, [0, 1, …]) = x',
  ops: ['transpose'],
  apply: (_, n) => (attrsOf<TransposeAttrs>(n).perm.every((p, a) => p === a) ? n.inputs[0] : null),
};

/** x[0 : n : 1] = x */
const dropSlice: Rule = {
  name: 'drop-slice',
  equation: 'x[0 : n] = x',
  ops: ['slice'],
  apply: (ctx, n) => (attrsOf<SliceAttrs>(n).steps.every((s, a) => s > 0 || ctx.shapeOf(n.inputs[0])[a] <= 1) ? keeps(ctx, n) : null),
};

/** pad(x, 0) = x */
const dropPad: Rule = {
  name: 'drop-pad',
  equation: 'pad(x, 0) = x',
  ops: ['pad'],
  apply: (_, n) => (attrsOf<PadAttrs>(n).pads.every((p) => p === 0) ? n.inputs[0] : null),
};

/** clip(x, −∞, ∞) = x */
const dropClip: Rule = {
  name: 'drop-clip',
  equation: 'clip(x, −∞, ∞) = x',
  ops: ['clip'],
  apply: (_, n) => (attrsOf<ClipAttrs>(n).min === -Infinity && attrsOf<ClipAttrs>(n).max === Infinity ? n.inputs[0] : null),
};

/** x · 1 = x / 1 = x¹ = x */
const timesOne: Rule = {
  name: 'times-one',
  equation: 'x · 1 = 1 · x = x / 1 = x¹ = x',
  ops: ['mul', 'div', 'pow'],
  apply: (ctx, n) => besideNeutral(ctx, n, 1, n.op === 'mul' ? [0, 1] : [1]),
};

/** x + 0 = x − 0 = x, up to the sign of zero */
const plusZero: Rule = {
  name: 'plus-zero',
  equation: 'x + 0 = 0 + x = x − 0 = x',
  ops: ['add', 'sub'],
  apply: (ctx, n) => besideNeutral(ctx, n, 0, n.op === 'add' ? [0, 1] : [1]),
};

/** −(−x) = ¬¬x = x */
const involution: Rule = {
  name: 'involution',
  equation: '−(−x) = ¬(¬x) = x',
  ops: ['neg', 'not', 'bitnot'],
  apply(ctx, n) {
    const p = ctx.producerOf(n.inputs[0]);
    return p?.op === n.op ? p.inputs[0] : null;
  },
};

export const identityRules: readonly Rule[] = [dropIdentity, dropSameType, dropTranspose, dropSlice, dropPad, dropClip, timesOne, plusZero, involution];
