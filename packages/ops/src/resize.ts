/**
 * Interpolation of a tensor to the shape `sizes`, axis by axis, with the coordinates and kernels of ONNX Resize-19. Source indices
 * and weights are constants, so the op is linear in x. Integers are interpolated in f64 and truncated.
 */
import type { TensorType } from '@bitloom/ir';
import { type Expr, type NestBuilder, type View, e, scalarOf } from '@bitloom/kernel-spec';
import { allocate } from '@bitloom/tensor';
import { z } from 'zod';
import { anyNumber, naturals } from './attrs.js';
import { reshapeTo, transpose } from './compose.js';
import { type LowerInput, type Lowering, type NewConstant, defineOp, logicalType, mismatch } from './def.js';
import { evaluateLowered, nestOver, newConstant } from './lowering.js';
import { asCodes } from './movement.js';
import { type AxisTaps, axisTaps } from './resize-taps.js';
import { expectClass, expectCount, showType } from './shapes.js';

const attrs = z.strictObject({
  sizes: naturals,
  scales: z.array(z.number().positive()).readonly(),
  mode: z.enum(['nearest', 'linear', 'cubic']),
  coordinates: z.enum(['half_pixel', 'half_pixel_symmetric', 'pytorch_half_pixel', 'align_corners', 'asymmetric', 'tf_crop_and_resize']),
  nearest: z.enum(['round_prefer_floor', 'round_prefer_ceil', 'floor', 'ceil']),
  cubicA: z.number(),
  excludeOutside: z.boolean(),
  antialias: z.boolean(),
  roi: z.array(z.number()).readonly().nullable(),
  extrapolation: anyNumber,
});
/** `scales` (full rank) place the coordinates, `sizes` is the output shape; `roi`: all starts, then all ends, normalised to [0, 1]. */
export type ResizeAttrs = z.infer<typeof attrs>;

/** Taps of each axis that the resize changes; null for the others. */
function tapsOf(a: ResizeAttrs, shape: readonly number[]): (AxisTaps | null)[] {
  const rank = shape.length;
  return shape.map((d, i) => {
    const taps = axisTaps(a, d, a.sizes[i], a.scales[i], a.roi ? [a.roi[i], a.roi[rank + i]] : [0, 1]);
    return d === taps.length && taps.every((t, x) => t?.length === 1 && t[0].index === x && t[0].weight === 1) ? null : taps;
  });
}

/** Above this many taps per output along one axis (antialias) they are summed by a loop. */
const MAX_UNROLLED = 4;

/** Constants of one axis: input indices and weights [out][taps], flags of outputs outside the crop [out]. Null where not needed. */
interface AxisPlan {
  readonly taps: number;
  readonly index: NewConstant;
  readonly weight: NewConstant | null;
  readonly outside: NewConstant | null;
}

function planAxis(taps: AxisTaps, axis: number, dtype: 'f32' | 'f64'): AxisPlan {
  const width = Math.max(1, ...new Set(taps.map((t) => t?.length ?? 0)));
  const table = (f: (t: { index: number; weight: number }) => number): number[] =>
    taps.flatMap((row) => Array.from({ length: width }, (_, i) => f(row?.[i] ?? { index: row?.[0]?.index ?? 0, weight: 0 })));
  const weights = table((t) => t.weight);
  const outside = taps.map((t) => (t ? 0 : 1));
  const picks = width === 1 && weights.every((w, i) => w === 1 || outside[i] === 1);
  return {
    taps: width,
    index: newConstant(`index${axis}`, 'i32', [taps.length, width], table((t) => t.index)),
    weight: picks ? null : newConstant(`weight${axis}`, dtype, [taps.length, width], weights),
    outside: outside.includes(1) ? newConstant(`outside${axis}`, 'i32', [taps.length], outside) : null,
  };
}

/** The constants of one axis as nest operands. */
interface AxisViews {
  readonly taps: number;
  readonly index: View;
  readonly weight: View | null;
  readonly outside: View | null;
}

/** y = finish(Σ over the taps of all axes of weights·cast(x), whether an index is outside the crop), in the physical order of y. */
function emit(
  b: NestBuilder, x: View, y: View, axes: readonly (AxisViews | null)[], cast: (v: Expr) => Expr, finish: (v: Expr, outside: Expr | null) => Expr,
): void {
  const order = y.strides.map((_, a) => a).sort((p, q) => y.strides[q] - y.strides[p]);
  const position: Expr[] = [];
  const unrolled: { source: Expr; weight: Expr | null }[][] = [];
  const flags: Expr[] = [];
  const tap = (v: AxisViews, a: number, t: Expr): { source: Expr; weight: Expr | null } => ({
    source: b.let(b.load(v.index, [position[a], t])),
    weight: v.weight && b.let(b.load(v.weight, [position[a], t])),
  });
  const value = (source: readonly Expr[]): Expr => {
    const a = source.length;
    if (a === x.shape.length) return cast(b.load(x, source));
    const v = axes[a];
    if (!v) return value([...source, position[a]]);
    const term = (t: { source: Expr; weight: Expr | null }): Expr => {
      const inner = value([...source, t.source]);
      return t.weight ? e.mul(t.weight, inner) : inner;
    };
    if (unrolled[a]) return unrolled[a].map(term).reduce(e.add);
    const sum = b.local(e.constant(v.weight!.dtype as 'f32' | 'f64', 0));
    b.for(v.taps, (t) => sum.set(e.add(sum.value, term(tap(v, a, t)))));
    return sum.value;
  };
  const nest = (depth: number): void => {
    if (depth === order.length) {
      b.store(y, position, finish(value([]), flags.length > 0 ? flags.reduce(e.or) : null));
      return;
    }
    const a = order[depth];
    b.for(y.shape[a], (p) => {
      position[a] = p;
      const v = axes[a];
      if (v && v.taps <= MAX_UNROLLED) unrolled[a] = Array.from({ length: v.taps }, (_, t) => tap(v, a, e.i32(t)));
      if (v?.outside) flags.push(b.let(b.load(v.outside, [p])));
      nest(depth + 1);
    });
  };
  nest(0);
}

function lower(n: LowerInput<ResizeAttrs>): Lowering {
  const type = logicalType(n.inputs[0]);
  const t = type === 'f32' ? 'f32' : 'f64';
  const plans = tapsOf(n.attrs, n.inputs[0].shape).map((taps, a) => taps && planAxis(taps, a, t));
  const constants = plans.flatMap((p) => (p ? [p.index, p.weight, p.outside].filter((c) => c !== null) : []));
  return nestOver(n, [0, ...constants], (b, [x, ...views], [y]) => {
    const view = (c: NewConstant | null): View | null => (c ? views[constants.indexOf(c)] : null);
    const axes = plans.map((p) => p && { taps: p.taps, index: view(p.index)!, weight: view(p.weight), outside: view(p.outside) });
    const [from, to] = asCodes(x, y);
    if (plans.every((p) => !p || (!p.weight && !p.outside)) && !from.quant && !to.quant) {
      emit(b, from, to, axes, (v) => v, (v) => v);
      return;
    }
    emit(b, x, y, axes, (v) => e.cast(t, v), (v, outside) => {
      const filled = outside ? e.select(outside, e.constant(t, n.attrs.extrapolation), v) : v;
      return e.cast(scalarOf(logicalType(y)), filled);
    });
  });
}

export const resize = defineOp<ResizeAttrs>({
  name: 'resize',
  summary: 'interpolation to another size: nearest, linear or cubic, with the coordinate modes of ONNX',
  attrs,
  infer(ins, a, origin): TensorType[] {
    expectCount(ins, 'resize', origin, 1);
    const { dtype, shape } = ins[0];
    const rank = shape.length;
    if (a.sizes.length !== rank || a.scales.length !== rank || (a.roi && a.roi.length !== 2 * rank)) {
      mismatch(origin, 'resize', `sizes, scales or roi of another rank than ${showType(ins[0])}`, `rank ${rank}`);
    }
    if (a.mode !== 'nearest') expectClass(ins[0], 'numeric', 'resize', origin);
    // Below a quarter pixel of output no rounding of sizes gets there, and antialiasing would stretch without bound.
    if (a.sizes.some((d, i) => d > 0 && shape[i] * a.scales[i] < 0.25)) {
      const found = `sizes [${a.sizes.join(',')}] at scales [${a.scales.join(',')}] of ${showType(ins[0])}`;
      mismatch(origin, 'resize', found, 'scales that yield the sizes');
    }
    return [{ dtype, shape: a.sizes }];
  },
  evaluate: (ins, a, outs) => evaluateLowered(lower, ins, a, outs, false),
  /** The transpose of each axis's interpolation matrix. */
  gradient(b, { inputs: [x], attrs: a, cotangents: [dy] }) {
    const { dtype, shape } = b.typeOf(x);
    return [tapsOf(a, shape).reduce((d, taps, axis) => {
      if (!taps) return d;
      const matrix = allocate(dtype, [taps.length, shape[axis]]);
      taps.forEach((row, i) => row?.forEach((t) => void (matrix.data[i * shape[axis] + t.index] = t.weight)));
      const perm = shape.map((_, i) => i).filter((i) => i !== axis).concat(axis);
      const last = transpose(b, d, perm);
      const lead = b.shapeOf(last).slice(0, -1);
      const product = b.add('matmul', [reshapeTo(b, last, [lead.reduce((p, n) => p * n, 1), taps.length]), b.const(matrix, 'resize')]);
      return transpose(b, reshapeTo(b, product, [...lead, shape[axis]]), perm.map((_, i) => perm.indexOf(i)));
    }, dy!)];
  },
  lower,
  scalar: null,
  channelsLast: false,
  accumulates: null,
});
