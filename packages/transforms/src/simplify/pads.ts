/** Padding that a window operation can do itself. */
import type { Node, Rule, RuleContext } from '@bitloom/ir';
import type { AvgPoolAttrs, ClipAttrs, MaxPoolAttrs, PadAttrs } from '@bitloom/ops';
import { attrsOf } from './util.js';

const F32_LOWEST = -3.4028234663852886e38;

/** Whether a value is never negative (NaN aside). */
function nonNegative(producer: Node | null): boolean {
  if (producer?.op === 'clip') return attrsOf<ClipAttrs>(producer).min >= 0;
  return producer !== null && ['relu', 'sigmoid', 'exp', 'abs', 'sqrt', 'softmax'].includes(producer.op);
}

/** Whether no window lies wholly in padding, so that padding never shows in a maximum that some element reaches. */
function touchesData(a: MaxPoolAttrs): boolean {
  const n = a.kernel.length;
  return a.kernel.every((k, i) => a.dilations[i] === 1 && a.pads[i] < k && a.pads[n + i] + a.ceilExtra[i] < k);
}

/** Attributes of the window with `pads` added, or null where the operation pads with something else than `value`. */
function absorb(ctx: RuleContext, n: Node, x: Node | null, value: number, pads: readonly number[]): object | null {
  const own = attrsOf<{ readonly pads: readonly number[] }>(n).pads;
  const joined = { ...(n.attrs as object), pads: own.map((p, i) => p + pads[i]) };
  switch (n.op) {
    case 'conv':
      return value === 0 ? joined : null;
    case 'avg_pool': {
      // Explicit zeros count; the pool's own padding counts with countIncludePad only.
      const counted = attrsOf<AvgPoolAttrs>(n).countIncludePad || own.every((p) => p === 0);
      return value === 0 && counted ? { ...joined, countIncludePad: true } : null;
    }
    default: {
      if (value === -Infinity) return joined;
      const hidden = value <= F32_LOWEST || (value <= 0 && nonNegative(x));
      return ctx.typeOf(n.inputs[0]).dtype === 'f32' && hidden && touchesData({ ...attrsOf<MaxPoolAttrs>(n), pads: joined.pads }) ? joined : null;
    }
  }
}

/** window(pad(x, p), q) = window(x, p + q) */
const fusePad: Rule = {
  name: 'fuse-pad',
  equation: 'conv(pad(x, p), q) = conv(x, p + q) for zeros; so for avg_pool that counts them, and max_pool that does not see them',
  ops: ['conv', 'avg_pool', 'max_pool'],
  apply(ctx, n) {
    const p = ctx.producerOf(n.inputs[0]);
    if (p?.op !== 'pad') return null;
    const { pads, mode, value } = attrsOf<PadAttrs>(p);
    const rank = pads.length / 2;
    if (mode !== 'constant' || [0, 1, rank, rank + 1].some((i) => pads[i] !== 0)) return null;
    const attrs = absorb(ctx, n, ctx.producerOf(p.inputs[0]), value, [...pads.slice(2, rank), ...pads.slice(rank + 2)]);
    return attrs && ctx.add(n.op, [p.inputs[0], ...n.inputs.slice(1)], attrs);
  },
};

export const padRules: readonly Rule[] = [fusePad];
