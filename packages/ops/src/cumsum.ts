/** Running sum along an axis. */
import { e } from '@bitloom/kernel-spec';
import { z } from 'zod';
import { natural } from './attrs.js';
import { byNest, defineOp, logicalType } from './def.js';
import { constantOf, wrapTo } from './integer.js';
import { expectAxis, expectClass, expectCount } from './shapes.js';

const attrs = z.strictObject({ axis: natural, exclusive: z.boolean(), reverse: z.boolean() });
export type CumsumAttrs = z.infer<typeof attrs>;

export const cumsum = defineOp<CumsumAttrs>({
  name: 'cumsum',
  summary: 'running sum along `axis`, from the end where `reverse`, without the element itself where `exclusive`; integers wrap',
  attrs,
  infer(ins, { axis }, origin) {
    expectCount(ins, 'cumsum', origin, 1);
    expectClass(ins[0], 'numeric', 'cumsum', origin);
    expectAxis(axis, ins[0].shape.length, 'cumsum', origin);
    return [ins[0]];
  },
  gradient: (b, { attrs: a, cotangents: [dy] }) => [b.add('cumsum', [dy!], { ...a, reverse: !a.reverse })],
  ...byNest<CumsumAttrs>((b, [x], [y], { axis, exclusive, reverse }) => {
    const t = logicalType(x);
    const n = x.shape[axis];
    b.loops(x.shape.map((d, a) => (a === axis ? Math.min(d, 1) : d)), (index) => {
      const sum = b.local(constantOf(t, 0));
      b.for(n, (i) => {
        const at = index.map((o, a) => (a !== axis ? o : reverse ? e.sub(e.i32(n - 1), i) : i));
        if (exclusive) b.store(y, at, sum.value);
        sum.set(wrapTo(t, e.add(sum.value, b.load(x, at))));
        if (!exclusive) b.store(y, at, sum.value);
      });
    });
  }),
});
