import { compose } from '@bitloom/ops';
import type { OnnxImporter } from '../node.js';
import { alongAxis, centred, convolve, toCodes } from './integer-codes.js';

/** Scales multiply the result; x, w and y each have one scale and zero point, w optionally one per output channel. */
export const QLinearConv: OnnxImporter = (n) => {
  const { b } = n;
  const rank = n.rank(0);
  const sums = convolve(n, centred(n, n.x(0), n.x(2), -1), centred(n, n.x(3), n.x(5), 0));
  const input = n.reshape(n.x(1), []);
  const scale = compose.div(b, compose.mul(b, input, alongAxis(n, n.x(4), rank, 1)), n.reshape(n.x(6), []));
  const real = compose.mul(b, n.optional(8) === null ? sums : compose.add(b, sums, alongAxis(n, n.cast(n.x(8), 'f32'), rank, 1)), scale);
  return toCodes(n, real, alongAxis(n, n.x(7), 0, 0), n.dtype(7));
};
