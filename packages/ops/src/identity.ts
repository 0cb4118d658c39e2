/** The same tensor. Import may emit it; simplification removes it. */
import { none, type NoAttrs } from './attrs.js';
import { byNest, defineOp } from './def.js';
import { asCodes } from './movement.js';
import { expectCount } from './shapes.js';

export const identity = defineOp<NoAttrs>({
  name: 'identity',
  summary: 'x itself',
  attrs: none,
  infer(ins, _attrs, origin) {
    expectCount(ins, 'identity', origin, 1);
    return [ins[0]];
  },
  gradient: (_b, { cotangents }) => [cotangents[0]],
  ...byNest((b, [x], [y]) => {
    const [from, to] = asCodes(x, y);
    b.elementwise(to, [from], ([v]) => v);
  }),
  scalar: ([x]) => x,
});
