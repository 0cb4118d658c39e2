/**
 * A mixture of fake quantisers of one tensor, as EBS (arXiv 2003.07577) aggregates bit-widths: y = Σᵢ pᵢ·Qᵢ(x), Qᵢ = `lsq` with step sᵢ. With the
 * cotangent G: ∂y/∂x = Σᵢ pᵢ·[loᵢ ≤ x/sᵢ ≤ hiᵢ],
 * ∂L/∂pᵢ = ⟨G, Qᵢ⟩, and that of sᵢ is pᵢ times that of `lsq`. One operation, because its gradient then takes half of the passes
 * over x that those of k quantisers, products and sums take, and makes the Qᵢ anew instead of keeping them.
 */
import type { ValueId } from '@bitloom/ir';
import { e } from '@bitloom/kernel-spec';
import { z } from 'zod';
import { add, div, gated, greaterEqual, mul, scalarLike, scale, sub, sumToShape } from './compose.js';
import { byScalar, defineOp, mismatch } from './def.js';
import { constantOf } from './integer.js';
import { showTypes } from './shapes.js';
import { inferLikeFirst, parameterGradient } from './straight-through.js';

const attrs = z.strictObject({
  /** Of each quantiser: smallest and largest code, and the factor of the gradient of its step (that of `lsq`). */
  quantizers: z.array(z.strictObject({ lo: z.number().int(), hi: z.number().int(), gradientScale: z.number().positive() })).min(1),
});
export type MixedLsqAttrs = z.infer<typeof attrs>;

const BIT = { lo: 0, hi: 1, gradientScale: 1 };
/** Bounds are taken this much wider, for the rounding of hi·s: activations that are clipped have many values there. */
const WIDER = 1 + 2 ** -21;

export const mixedLsq = defineOp<MixedLsqAttrs>({
  name: 'mixed_lsq',
  summary: 'Σᵢ pᵢ·sᵢ·clip(round(x/sᵢ), `lo`ᵢ, `hi`ᵢ) of operands x, s₁, p₁, s₂, p₂ …; gradients as those of lsq',
  attrs,
  infer(ins, { quantizers }, origin) {
    const types = inferLikeFirst(ins, 'mixed_lsq', origin, 1 + 2 * quantizers.length);
    if (ins.some((t, i) => i > 0 && i % 2 === 0 && t.shape.length > 0)) mismatch(origin, 'mixed_lsq', showTypes(ins), 'shares of rank 0');
    return types;
  },
  gradient(b, { inputs: [x, ...rest], attrs: { quantizers }, cotangents: [dy] }) {
    // What is below 0 is outside of all ranges that begin there.
    const unsigned = quantizers.every(({ lo }) => lo === 0);
    const v = unsigned ? b.add('relu', [x]) : x;
    /**
     * Σᵢ pᵢ·[x outside of loᵢ·sᵢ to hiᵢ·sᵢ] over some quantisers. A one-bit quantiser of step 2T tells what is above T, half to even, and is three times as
     * fast on onnxruntime as a comparison.
     */
    const outside = (of: readonly number[]): ValueId => {
      const terms = of.map((i): [of: ValueId, step: ValueId, share: ValueId] => {
        const [{ lo, hi }, s] = [quantizers[i], rest[2 * i]];
        const step = scale(b, s, (unsigned ? 2 * hi : hi - lo) * WIDER);
        return [unsigned ? v : b.add('abs', [sub(b, x, scale(b, s, (lo + hi) / 2))]), step, div(b, rest[2 * i + 1], step)];
      });
      const above = (t: typeof terms): ValueId => {
        if (t.every(([, , share]) => b.shapeOf(share).length === 0)) return b.add('mixed_lsq', [t[0][0], ...t.flatMap((u) => u.slice(1))], { quantizers: t.map(() => BIT) });
        return t.map(([w, step, share]) => mul(b, b.add('lsq', [w, step], BIT), share)).reduce((u, w) => add(b, u, w));
      };
      return unsigned ? above(terms) : terms.map((t) => above([t])).reduce((u, w) => add(b, u, w));
    };
    const along = mul(b, dy!, v);
    const parameters = quantizers.flatMap(({ lo, hi, gradientScale }, i): ValueId[] => {
      const [s, p] = [rest[2 * i], rest[2 * i + 1]];
      const moved = mul(b, dy!, b.add('lsq', [x, s], { lo, hi, gradientScale: 1 }));
      const sum = (d: ValueId): ValueId => parameterGradient(b, d, s, gradientScale);
      const ds = add(b, mul(b, sub(b, sum(moved), sum(along)), p), sum(mul(b, along, outside([i]))));
      return [div(b, ds, s), sumToShape(b, moved, [])];
    });
    const shares = quantizers.map((_, i) => rest[2 * i + 1]).reduce((sum, p) => add(b, sum, p));
    const dx = mul(b, dy!, sub(b, shares, outside(quantizers.map((_, i) => i))));
    return [unsigned ? gated(b, greaterEqual(b, x, scalarLike(b, x, 0)), dx) : dx, ...parameters];
  },
  ...byScalar(([x, ...rest], { quantizers }, t) => quantizers.map(({ lo, hi }, i) => {
    const [s, p] = [rest[2 * i], rest[2 * i + 1]];
    return e.mul(e.mul(e.pmin(e.pmax(e.nearest(e.div(x, s)), constantOf(t, lo)), constantOf(t, hi)), s), p);
  }).reduce((sum, term) => e.add(sum, term))),
});
