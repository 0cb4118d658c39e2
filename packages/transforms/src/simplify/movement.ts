/** Reshapes, transposes and their like that cancel or join. */
import type { Node, Rule, RuleContext, ValueId } from '@bitloom/ir';
import { type GatherAttrs, type PadAttrs, type SliceAttrs, type TransposeAttrs, broadcastShape, getOp } from '@bitloom/ops';
import { sameShape, toNumbers } from '@bitloom/tensor';
import { attrsOf } from './util.js';

/** The producer of operand 0 if it is of the same op. */
function inner(ctx: RuleContext, n: Node): Node | null {
  const p = ctx.producerOf(n.inputs[0]);
  return p?.op === n.op ? p : null;
}

/** reshape(reshape(x, s), t) = reshape(x, t), and so for expand */
const joinReshapes: Rule = {
  name: 'join-reshapes',
  equation: 'reshape(reshape(x, s), t) = reshape(x, t); expand(expand(x, s), t) = expand(x, t)',
  ops: ['reshape', 'expand'],
  apply(ctx, n) {
    const p = inner(ctx, n);
    return p && ctx.add(n.op, p.inputs, n.attrs);
  },
};

/** transpose(transpose(x, p), q) = transpose(x, p[q]) */
const joinTransposes: Rule = {
  name: 'join-transposes',
  equation: 'transpose(transpose(x, p), q) = transpose(x, p[q])',
  ops: ['transpose'],
  apply(ctx, n) {
    const p = inner(ctx, n);
    return p && ctx.add('transpose', p.inputs, { perm: attrsOf<TransposeAttrs>(n).perm.map((a) => attrsOf<TransposeAttrs>(p).perm[a]) });
  },
};

/** transpose(x, p) = reshape(x, shape[p]) where p keeps the order of all axes longer than 1 */
const transposeToReshape: Rule = {
  name: 'transpose-to-reshape',
  equation: 'transpose(x, p) = reshape(x, shape[p]) where p moves only axes of length 1',
  ops: ['transpose'],
  apply(ctx, n) {
    const shape = ctx.shapeOf(n.inputs[0]);
    const { perm } = attrsOf<TransposeAttrs>(n);
    const long = perm.filter((a) => shape[a] !== 1);
    return long.every((a, i) => i === 0 || a > long[i - 1]) ? ctx.add('reshape', n.inputs, { shape: perm.map((a) => shape[a]) }) : null;
  },
};

/** x[s + i·t][u + j·v] = x[(s + u·t) + j·(t·v)] */
const joinSlices: Rule = {
  name: 'join-slices',
  equation: 'x[s + i·t][u + j·v] = x[(s + u·t) + j·(t·v)]',
  ops: ['slice'],
  apply(ctx, n) {
    const p = inner(ctx, n);
    const [b, a] = [attrsOf<SliceAttrs>(n), p && attrsOf<SliceAttrs>(p)];
    if (!a || b.sizes.includes(0)) return null;
    const starts = b.starts.map((u, i) => a.starts[i] + u * a.steps[i]);
    return ctx.add('slice', p!.inputs, { starts, steps: b.steps.map((v, i) => v * a.steps[i]), sizes: b.sizes });
  },
};

/** pad(pad(x, p), q) = pad(x, p + q) for one constant value */
const joinPads: Rule = {
  name: 'join-pads',
  equation: 'pad(pad(x, p, v), q, v) = pad(x, p + q, v)',
  ops: ['pad'],
  apply(ctx, n) {
    const p = inner(ctx, n);
    const [b, a] = [attrsOf<PadAttrs>(n), p && attrsOf<PadAttrs>(p)];
    if (!a || a.mode !== 'constant' || b.mode !== 'constant' || !Object.is(a.value, b.value)) return null;
    return ctx.add('pad', p!.inputs, { ...b, pads: b.pads.map((q, i) => a.pads[i] + q) });
  },
};

/** f(expand(x), y) = f(x, y) where f broadcasts to the same shape itself */
const dropExpand: Rule = {
  name: 'drop-expand',
  equation: 'f(expand(x), y) = f(x, y) for elementwise f and unchanged result shape',
  ops: null,
  apply(ctx, n) {
    if (n.inputs.length < 2 || getOp(n.op, n.origin).scalar === null) return null;
    const at = n.inputs.findIndex((id, i) => {
      const p = ctx.producerOf(id);
      if (p?.op !== 'expand') return false;
      const shapes = n.inputs.map((other, k) => ctx.shapeOf(k === i ? p.inputs[0] : other));
      const shape = shapes.reduce<readonly number[] | null>((s, t) => s && broadcastShape(s, t), []);
      return shape !== null && sameShape(shape, ctx.shapeOf(n.outputs[0]));
    });
    return at < 0 ? null : ctx.add(n.op, n.inputs.map((id, i) => (i === at ? ctx.producerOf(id)!.inputs[0] : id)), n.attrs);
  },
};

/** gather(x, [s, s + t, s + 2t, …]) = x[s + i·t] */
const gatherToSlice: Rule = {
  name: 'gather-to-slice',
  equation: 'gather(x, [s, s + t, …]) = reshape(x[s + i·t]) for constant indices',
  ops: ['gather'],
  apply(ctx, n) {
    const [x, at] = n.inputs;
    const indices = ctx.constantOf(at);
    if (!indices || indices.data.length === 0) return null;
    const { axis } = attrsOf<GatherAttrs>(n);
    const shape = ctx.shapeOf(x);
    const resolved = toNumbers(indices).map((i) => (i < 0 ? i + shape[axis] : i));
    const step = resolved.length > 1 ? resolved[1] - resolved[0] : 1;
    if (step === 0 || resolved.some((v, i) => v !== resolved[0] + i * step || v < 0 || v >= shape[axis])) return null;
    const along = (other: readonly number[], value: number): number[] => other.map((v, a) => (a === axis ? value : v));
    const ones = shape.map(() => 1);
    const part = ctx.add('slice', [x], { starts: along(shape.map(() => 0), resolved[0]), steps: along(ones, step), sizes: along(shape, resolved.length) });
    return indices.shape.length === 1 ? part : ctx.add('reshape', [part], { shape: ctx.shapeOf(n.outputs[0]) });
  },
};

/** Elementwise nodes looked through above a transpose. */
const MAX_CHAIN = 16;

/** transpose(f(transpose(x, q⁻¹), c), q) = f(x, transpose(c, q)) for chains of elementwise f that nothing else reads */
const cancelTransposes: Rule = {
  name: 'cancel-transposes',
  equation: 'transpose(f(transpose(x, q⁻¹), c), q) = f(x, transpose(c, q)) for elementwise f',
  ops: ['transpose'],
  apply(ctx, n) {
    const { perm } = attrsOf<TransposeAttrs>(n);
    const rank = perm.length;
    let cancelled = false;
    const inverse = (id: ValueId): Node | null => {
      const p = ctx.producerOf(id);
      const q = p?.op === 'transpose' ? attrsOf<TransposeAttrs>(p).perm : null;
      return q?.length === rank && perm.every((a, i) => q[a] === i) ? p : null;
    };
    const pointwise = (id: ValueId): Node | null => {
      const p = ctx.producerOf(id);
      return p && ctx.usedOnce(id) && ctx.shapeOf(id).length === rank && p.op !== 'const' && getOp(p.op, p.origin).scalar !== null ? p : null;
    };
    const passes = (id: ValueId, depth: number): boolean => {
      if (ctx.constantOf(id)) return true;
      if (inverse(id)) return (cancelled = true);
      return depth < MAX_CHAIN && (pointwise(id)?.inputs.every((i) => passes(i, depth + 1)) ?? false);
    };
    if (!passes(n.inputs[0], 0) || !cancelled) return null;
    const moved = (id: ValueId): ValueId => {
      const constant = ctx.constantOf(id);
      if (constant) {
        if (constant.data.length === 1) return id;
        const full = [...new Array<number>(rank - constant.shape.length).fill(1), ...constant.shape];
        return ctx.add('transpose', [ctx.add('reshape', [id], { shape: full })], { perm });
      }
      const cancels = inverse(id);
      if (cancels) return cancels.inputs[0];
      const p = pointwise(id)!;
      return ctx.add(p.op, p.inputs.map(moved), p.attrs, { origin: p.origin });
    };
    return moved(n.inputs[0]);
  },
};

export const movementRules: readonly Rule[] = [
  joinReshapes, joinTransposes, transposeToReshape, joinSlices, gatherToSlice, joinPads, dropExpand, cancelTransposes,
];
