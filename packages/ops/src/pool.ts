/** What max_pool and avg_pool share: attributes, output type, the nest. */
import type { TensorType } from '@bitloom/ir';
import { type Expr, type NestBuilder, type View, e } from '@bitloom/kernel-spec';
import { expectCount, showType } from './shapes.js';
import { mismatch } from './def.js';
import { rowsOfChannels } from './lowering.js';
import { type Window, extents, forTaps, paddings, tapsInside, windowPositions } from './window.js';

/** `ceilExtra`: padding at the end of each axis that ONNX's ceil_mode adds; never data, never counted. */
export const poolShape = { kernel: extents, strides: extents, pads: paddings, dilations: extents, ceilExtra: paddings };

export interface PoolAttrs extends Window {
  readonly ceilExtra: readonly number[];
}

/** Ends padded by ceilExtra too: the window as the positions see it. */
export function poolWindow(a: PoolAttrs): Window {
  const n = a.ceilExtra.length;
  return { ...a, pads: a.pads.map((p, i) => (i < n ? p : p + a.ceilExtra[i - n])) };
}

/** @throws E204 */
export function inferPool(ins: readonly TensorType[], a: PoolAttrs, op: string, origin: string): TensorType[] {
  expectCount(ins, op, origin, 1);
  const [batch, channels, ...size] = ins[0].shape;
  if (size.length < 1) mismatch(origin, op, showType(ins[0]), 'a tensor of rank 3 or more');
  if (a.ceilExtra.length !== size.length) {
    mismatch(origin, op, `ceilExtra for ${a.ceilExtra.length} spatial axes`, `${size.length} spatial axes`);
  }
  return [{ dtype: ins[0].dtype, shape: [batch, channels, ...windowPositions(size, poolWindow(a), op, origin)] }];
}

/** Number of taps that an average divides by: those inside the input, with `countIncludePad` also those on its pads. */
export function divisor(
  b: NestBuilder, a: PoolAttrs & { readonly countIncludePad: boolean },
  position: readonly Expr[], out: readonly number[], size: readonly number[],
): Expr {
  const n = size.length;
  const ranges = position.map((p, i) => a.countIncludePad
    ? tapsInside(b, { ...a, pads: a.pads.map(() => 0) }, i, p, out[i], size[i] + a.pads[i] + a.pads[n + i])
    : tapsInside(b, a, i, p, out[i], size[i]));
  return ranges.reduce<Expr>((p, { count }) => e.mul(p, typeof count === 'number' ? e.i32(count) : count), e.i32(1));
}

/**
 * y = finish(fold of `step` over the taps inside x, in increasing order, from `initial`). Where channels are innermost in y, whole
 * rows of channels accumulate in place (contiguous innermost loops); else in one local per output.
 */
export function poolNest(
  b: NestBuilder, x: View, y: View, a: PoolAttrs, initial: Expr,
  step: (sum: Expr, value: Expr) => Expr, finish: null | ((sum: Expr, position: readonly Expr[]) => Expr),
): void {
  const [batch, channels, ...out] = y.shape;
  const size = x.shape.slice(2);
  const overTaps = (p: readonly Expr[], body: (source: Expr[]) => void): void =>
    forTaps(b, p.map((v, i) => tapsInside(b, a, i, v, out[i], size[i])), a.dilations, body);
  if (rowsOfChannels(y)) {
    b.loops([batch, ...out], ([n, ...p]) => {
      const at = (c: Expr): Expr[] => [n, c, ...p];
      b.for(channels, (c) => b.store(y, at(c), initial));
      overTaps(p, (source) =>
        b.for(channels, (c) => b.store(y, at(c), step(b.load(y, at(c)), b.load(x, [n, c, ...source])))));
      if (finish) b.for(channels, (c) => b.store(y, at(c), finish(b.load(y, at(c)), p)));
    });
    return;
  }
  b.loops(y.shape, ([n, c, ...p]) => {
    const sum = b.local(initial);
    overTaps(p, (source) => sum.set(step(sum.value, b.load(x, [n, c, ...source]))));
    b.store(y, [n, c, ...p], finish ? finish(sum.value, p) : sum.value);
  });
}
