import type { OnnxImporter } from '../node.js';

const arg = (op: string): OnnxImporter => (n) =>
  n.op(op, [n.x(0)], {
    axis: n.axis(n.attrs.int('axis', 0), n.rank(0)), keepdims: n.attrs.bool('keepdims', true), last: n.attrs.bool('select_last_index', false),
  });

export const ArgMax = arg('arg_max');
export const ArgMin = arg('arg_min');
