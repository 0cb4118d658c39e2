/** Elementwise choice, all three operands broadcast. */
import { e } from '@bitloom/kernel-spec';
import { none, type NoAttrs } from './attrs.js';
import { scalarLike, sumToShape } from './compose.js';
import { byScalar, defineOp } from './def.js';
import { broadcastAll, expectClass, expectCount, expectSameDType } from './shapes.js';

export const select = defineOp<NoAttrs>({
  name: 'select',
  summary: 'c ? x : y',
  attrs: none,
  infer(ins, _attrs, origin) {
    expectCount(ins, 'select', origin, 3);
    expectClass(ins[0], 'bool', 'select', origin);
    expectSameDType(ins.slice(1), 'select', origin);
    return [{ dtype: ins[1].dtype, shape: broadcastAll(ins, 'select', origin) }];
  },
  gradient(b, { inputs: [c, x, y], cotangents: [dz] }) {
    const zero = scalarLike(b, x, 0);
    return [null, sumToShape(b, b.add('select', [c, dz!, zero]), b.shapeOf(x)), sumToShape(b, b.add('select', [c, zero, dz!]), b.shapeOf(y))];
  },
  ...byScalar(([c, x, y]) => e.select(c, x, y)),
});
