/** Relu and clip: one form for each bound, and one clamp instead of two. */
import type { Node, Rule, RuleContext, ValueId } from '@bitloom/ir';
import type { ClipAttrs } from '@bitloom/ops';
import { isFloat } from '@bitloom/tensor';
import { attrsOf, sameType, uniformOf } from './util.js';

/** Bounds of a relu or clip; null for other nodes. */
export function boundsOf(n: Node | null): ClipAttrs | null {
  if (n?.op === 'relu') return { min: 0, max: Infinity };
  return n?.op === 'clip' ? attrsOf<ClipAttrs>(n) : null;
}

const clamp = (ctx: RuleContext, x: ValueId, { min, max }: ClipAttrs): ValueId =>
  min === 0 && max === Infinity ? ctx.add('relu', [x]) : ctx.add('clip', [x], { min, max });

/** max(x, a) = clip(x, a, ∞); min(x, b) = clip(x, −∞, b); clip(x, 0, ∞) = relu(x) */
const boundsToClip: Rule = {
  name: 'bounds-to-clip',
  equation: 'max(x, a) = clip(x, a, ∞); min(x, b) = clip(x, −∞, b); clip(x, 0, ∞) = relu(x)',
  ops: ['max', 'min', 'clip'],
  apply(ctx, n) {
    if (!isFloat(ctx.typeOf(n.outputs[0]).dtype)) return null;
    if (n.op === 'clip') return boundsOf(n)!.min === 0 && boundsOf(n)!.max === Infinity ? ctx.add('relu', n.inputs) : null;
    for (const at of [0, 1]) {
      const x = n.inputs[1 - at];
      const c = uniformOf(ctx.constantOf(n.inputs[at]));
      if (c === null || Number.isNaN(c) || !sameType(ctx, x, n.outputs[0])) continue;
      return clamp(ctx, x, n.op === 'max' ? { min: c, max: Infinity } : { min: -Infinity, max: c });
    }
    return null;
  },
};

/** clip(clip(x, a, b), c, d) = clip(x, clip(a, c, d), clip(b, c, d)) */
const joinClamps: Rule = {
  name: 'join-clamps',
  equation: 'clip(clip(x, a, b), c, d) = clip(x, clip(a, c, d), clip(b, c, d)); relu is clip(x, 0, ∞)',
  ops: ['relu', 'clip'],
  apply(ctx, n) {
    const p = ctx.producerOf(n.inputs[0]);
    const [inner, outer] = [boundsOf(p), boundsOf(n)!];
    if (!inner || !isFloat(ctx.typeOf(n.outputs[0]).dtype) || !(inner.min <= inner.max) || !(outer.min <= outer.max)) return null;
    if (outer.min <= inner.min && inner.max <= outer.max) return n.inputs[0];
    // Where others read the inner clamp, a second reader of x would keep it from being fused into the layer that makes x.
    if (!ctx.usedOnce(n.inputs[0])) return null;
    const within = (v: number): number => Math.min(Math.max(v, outer.min), outer.max);
    return clamp(ctx, p!.inputs[0], { min: within(inner.min), max: within(inner.max) });
  },
};

export const clampRules: readonly Rule[] = [boundsToClip, joinClamps];
