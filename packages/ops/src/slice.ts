/** Strided part of a tensor; starts, steps (of either sign) and sizes are resolved for every axis. */
import type { ValueId } from '@bitloom/ir';
import { z } from 'zod';
import { naturals, nonzeros } from './attrs.js';
import { flip, padWith, zeroInterleave } from './compose.js';
import { byNest, defineOp, mismatch } from './def.js';
import { asCodes, copyRegion } from './movement.js';
import { expectCount, showType } from './shapes.js';

const attrs = z.strictObject({ starts: naturals, steps: nonzeros, sizes: naturals });
export type SliceAttrs = z.infer<typeof attrs>;

export const slice = defineOp<SliceAttrs>({
  name: 'slice',
  summary: 'y[i] = x[`starts` + i·`steps`] for i below `sizes`, along every axis',
  attrs,
  infer(ins, { starts, steps, sizes }, origin) {
    expectCount(ins, 'slice', origin, 1);
    const [{ dtype, shape }] = ins;
    const inside = (a: number): boolean => {
      const last = starts[a] + (sizes[a] - 1) * steps[a];
      return sizes[a] === 0 || (starts[a] < shape[a] && last >= 0 && last < shape[a]);
    };
    if ([starts, steps, sizes].some((l) => l.length !== shape.length) || !shape.every((_, a) => inside(a))) {
      const found = `[${starts.join(',')}] + i·[${steps.join(',')}], i < [${sizes.join(',')}] of ${showType(ins[0])}`;
      mismatch(origin, 'slice', found, 'a range within every axis');
    }
    return [{ dtype, shape: sizes }];
  },
  /** Scatters back: reversed axes flip, steps interleave zeros, the rest is padding. */
  gradient(b, { inputs: [x], attrs: { starts, steps, sizes }, cotangents: [dy] }) {
    const shape = b.shapeOf(x);
    const forward = flip(b, dy!, sizes.flatMap((_, a) => (steps[a] < 0 ? [a] : [])));
    const wide = sizes.reduceRight<ValueId>((v, _, a) => zeroInterleave(b, v, a, Math.abs(steps[a])), forward);
    const begins = sizes.map((n, a) => (n === 0 ? 0 : Math.min(starts[a], starts[a] + (n - 1) * steps[a])));
    return [padWith(b, wide, begins, b.shapeOf(wide).map((n, a) => shape[a] - begins[a] - n))];
  },
  ...byNest<SliceAttrs>((b, [input], [output], { starts, steps }) => {
    const [x, y] = asCodes(input, output);
    const base = starts.reduce((at, s, a) => at + s * x.strides[a], 0);
    copyRegion(b, y.shape, { view: x, base, strides: x.strides.map((s, a) => s * steps[a]) }, { view: y, base: 0, strides: y.strides });
  }),
});
