/** Elements around a tensor: a constant, mirrored without the edge, the edge repeated, or wrapped around. */
import type { ValueId } from '@bitloom/ir';
import { e, type Expr } from '@bitloom/kernel-spec';
import { tensorOf } from '@bitloom/tensor';
import { z } from 'zod';
import { anyNumber, naturals } from './attrs.js';
import { scatterAddAxis } from './compose.js';
import { byNest, defineOp, mismatch } from './def.js';
import { asCodes, copyRegion, fill, loopsInOrder } from './movement.js';
import { expectCount, showType } from './shapes.js';

const attrs = z.strictObject({ pads: naturals, mode: z.enum(['constant', 'reflect', 'edge', 'wrap']), value: anyNumber });
export type PadAttrs = z.infer<typeof attrs>;

/** Period of the source index in units of elements, for the modes that repeat. */
const period = (mode: PadAttrs['mode'], n: number): number => (mode === 'wrap' ? n : Math.max(1, 2 * (n - 1)));

/** Where position i (from the start of the padding) of an axis of n elements comes from. */
function source(mode: PadAttrs['mode'], i: number, begin: number, n: number): number {
  const p = i - begin;
  if (mode === 'edge') return Math.min(Math.max(p, 0), n - 1);
  const m = period(mode, n);
  const t = ((p % m) + m) % m;
  return mode === 'wrap' ? t : Math.min(t, m - t, n - 1);
}

/** {@link source} as an expression. */
function sourceExpr(mode: PadAttrs['mode'], i: Expr, begin: number, n: number): Expr {
  if (mode === 'edge') return e.min(e.max(e.sub(i, e.i32(begin)), e.i32(0)), e.i32(n - 1));
  const m = period(mode, n);
  const t = e.rem(e.add(i, e.i32(Math.ceil(begin / m) * m - begin)), e.i32(m));
  return mode === 'wrap' || n === 1 ? t : e.min(t, e.sub(e.i32(m), t));
}

export const pad = defineOp<PadAttrs>({
  name: 'pad',
  summary: '`pads` elements before (first half) and after every axis: `value`, or taken from x by `mode`',
  attrs,
  infer(ins, { pads, mode }, origin) {
    expectCount(ins, 'pad', origin, 1);
    const [{ dtype, shape }] = ins;
    if (pads.length !== 2 * shape.length) mismatch(origin, 'pad', `${pads.length} pads of ${showType(ins[0])}`, `${2 * shape.length} pads`);
    const padded = shape.map((n, a) => n + pads[a] + pads[a + shape.length]);
    if (mode !== 'constant' && shape.some((n, a) => n === 0 && padded[a] > 0)) {
      mismatch(origin, 'pad', showType(ins[0]), 'something to repeat along padded axes');
    }
    return [{ dtype, shape: padded }];
  },
  /** The constant's border falls away; the other modes repeat elements axis by axis, so cotangents add up axis by axis. */
  gradient(b, { inputs: [x], attrs: { pads, mode }, cotangents: [dy] }) {
    const shape = b.shapeOf(x);
    if (mode === 'constant') return [b.add('slice', [dy!], { starts: pads.slice(0, shape.length), steps: shape.map(() => 1), sizes: shape })];
    return [shape.reduce<ValueId>((v, n, a) => {
      const m = b.shapeOf(v)[a];
      if (m === n) return v;
      const index = tensorOf('i64', [m], Array.from({ length: m }, (_, i) => source(mode, i, pads[a], n)));
      return scatterAddAxis(b, v, a, b.const(index, 'index'), n);
    }, dy!)];
  },
  ...byNest<PadAttrs>((b, [input], [output], { pads, mode, value }) => {
    const [x, y] = asCodes(input, output);
    if (mode === 'constant') {
      fill(b, output, value);
      const base = y.strides.reduce((at, s, a) => at + pads[a] * s, 0);
      copyRegion(b, x.shape, { view: x, base: 0, strides: x.strides }, { view: y, base, strides: y.strides });
      return;
    }
    loopsInOrder(b, y, (index) => {
      b.store(y, index, b.load(x, index.map((i, a) => (x.shape[a] === y.shape[a] ? i : sourceExpr(mode, i, pads[a], x.shape[a])))));
    });
  }),
});
