/** Permutation of axes: axis a of the output is axis perm[a] of the input. */
import { z } from 'zod';
import { naturals } from './attrs.js';
import { transpose as permute } from './compose.js';
import { byNest, defineOp, mismatch } from './def.js';
import { asCodes } from './movement.js';
import { expectCount, showType } from './shapes.js';

const attrs = z.strictObject({ perm: naturals });
export type TransposeAttrs = z.infer<typeof attrs>;

export const transpose = defineOp<TransposeAttrs>({
  name: 'transpose',
  summary: 'axes permuted: axis a of the result is axis `perm`[a] of x',
  attrs,
  infer(ins, { perm }, origin) {
    expectCount(ins, 'transpose', origin, 1);
    const [{ dtype, shape }] = ins;
    if (perm.length !== shape.length || shape.some((_, a) => !perm.includes(a))) {
      mismatch(origin, 'transpose', `perm [${perm.join(',')}] of ${showType(ins[0])}`, `a permutation of ${shape.length} axes`);
    }
    return [{ dtype, shape: perm.map((a) => shape[a]) }];
  },
  gradient: (b, { attrs: { perm }, cotangents: [dy] }) => [permute(b, dy!, perm.map((_, a) => perm.indexOf(a)))],
  ...byNest<TransposeAttrs>((b, [input], [output], { perm }) => {
    const [x, y] = asCodes(input, output);
    b.elementwise(y, [{ ...x, shape: y.shape, strides: perm.map((a) => x.strides[a]) }], ([v]) => v);
  }),
});
