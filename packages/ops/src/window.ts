/** Sliding windows: attributes, sizes and loops shared by convolutions and pools. */
import { type Expr, type NestBuilder, e } from '@bitloom/kernel-spec';
import { MAX_ELEMENTS } from '@bitloom/tensor';
import { z } from 'zod';
import { mismatch } from './def.js';

/** Positive and non-negative sizes, bounded so that positions fit i32. */
export const extents = z.array(z.number().int().positive().max(MAX_ELEMENTS)).readonly();
export const paddings = z.array(z.number().int().nonnegative().max(MAX_ELEMENTS)).readonly();

/** A window per spatial axis; `pads` are all begins, then all ends. */
export interface Window {
  readonly kernel: readonly number[];
  readonly strides: readonly number[];
  readonly dilations: readonly number[];
  readonly pads: readonly number[];
}

/** Number of window positions along each axis. @throws E204 where attributes have the wrong length or no position fits. */
export function windowPositions(size: readonly number[], w: Window, op: string, origin: string): number[] {
  const n = size.length;
  const lengths = [w.kernel.length, w.strides.length, w.dilations.length, w.pads.length / 2];
  if (lengths.some((l) => l !== n)) {
    mismatch(origin, op, `kernel, strides, dilations, pads for ${lengths.join(', ')} spatial axes`, `${n} spatial axes`);
  }
  return size.map((d, i) => {
    const span = w.dilations[i] * (w.kernel[i] - 1) + 1;
    const room = d + w.pads[i] + w.pads[n + i];
    if (room < span) mismatch(origin, op, `a window of ${span} on axis ${i + 2} of padded size ${room}`, 'a window that fits');
    return Math.floor((room - span) / w.strides[i]) + 1;
  });
}

/** Number of taps of a window at `position` that fall into [−before, size + after), along one axis. */
export function tapCount(w: Window, axis: number, position: number, size: number, before: number, after: number): number {
  const base = position * w.strides[axis] - w.pads[axis];
  let count = 0;
  for (let k = 0; k < w.kernel[axis]; k++) {
    const at = base + k * w.dilations[axis];
    if (at >= -before && at < size + after) count++;
  }
  return count;
}

/** Taps [first, first + count) of a window that fall inside the input along one axis; tap k reads position base + k·dilation. */
export interface TapRange {
  readonly base: Expr;
  readonly first: Expr;
  readonly count: number | Expr;
}

/** Taps inside [0, size) of the window at output `position` of `positions`, as expressions computed once. */
export function tapsInside(b: NestBuilder, w: Window, axis: number, position: Expr, positions: number, size: number): TapRange {
  const [k, s, d, pad] = [w.kernel[axis], w.strides[axis], w.dilations[axis], w.pads[axis]];
  const base = b.let(e.sub(e.mul(position, e.i32(s)), e.i32(pad)));
  const fits = (positions - 1) * s - pad + (k - 1) * d < size;
  if (pad === 0 && fits) return { base, first: e.i32(0), count: k };
  const ceilDiv = (x: Expr): Expr => e.div(e.add(e.max(x, e.i32(0)), e.i32(d - 1)), e.i32(d));
  const first = pad === 0 ? e.i32(0) : b.let(ceilDiv(e.sub(e.i32(0), base)));
  const end = fits ? e.i32(k) : e.min(e.i32(k), ceilDiv(e.sub(e.i32(size), base)));
  return { base, first, count: b.let(e.max(e.i32(0), e.sub(end, first))) };
}

/** Loops over the taps of one range per axis, outermost first; `body` gets the input position and the tap along each axis. */
export function forTaps(
  b: NestBuilder, ranges: readonly TapRange[], dilations: readonly number[],
  body: (source: Expr[], tap: Expr[]) => void, source: Expr[] = [], tap: Expr[] = [],
): void {
  const axis = source.length;
  if (axis === ranges.length) {
    body(source, tap);
    return;
  }
  const { base, first, count } = ranges[axis];
  b.for(count, (v) => {
    const k = b.let(e.add(first, v));
    forTaps(b, ranges, dilations, body, [...source, b.let(e.add(base, e.mul(k, e.i32(dilations[axis]))))], [...tap, k]);
  });
}
