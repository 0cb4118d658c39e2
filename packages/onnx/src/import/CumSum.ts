import type { OnnxImporter } from '../node.js';

export const CumSum: OnnxImporter = (n) =>
  n.op('cumsum', [n.x(0)], {
    axis: n.axis(n.number(1, 'axis'), n.rank(0)), exclusive: n.attrs.bool('exclusive', false), reverse: n.attrs.bool('reverse', false),
  });
