import type { OnnxImporter } from '../node.js';

export const CumSum: OnnxImporter = (n) =>
  n.op('cumsum', [n.x(0)], { axis: n.axis(n.ints(1, 'axis')![0], n.rank(0)), exclusive: n.attrs.bool('exclusive', false), reverse: n.attrs.bool('reverse', false) });
