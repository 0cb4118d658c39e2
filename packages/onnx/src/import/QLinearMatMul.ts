import { compose } from '@bitloom/ops';
import { isFloat } from '@bitloom/tensor';
import type { OnnxImporter } from '../node.js';
import { alongAxis, centred, toCodes } from './integer-codes.js';
import { matmul } from './MatMul.js';

export const QLinearMatMul: OnnxImporter = (n) => {
  const { b } = n;
  if (!isFloat(n.dtype(1))) n.unsupported(`${n.dtype(1)} scales`);
  const sums = matmul(n, centred(n, n.x(0), n.x(2), n.rank(0) - 2), centred(n, n.x(3), n.x(5), n.rank(3) - 1));
  const rank = b.shapeOf(sums).length;
  const scale = compose.div(b, compose.mul(b, alongAxis(n, n.x(1), rank, rank - 2), alongAxis(n, n.x(4), rank, rank - 1)), alongAxis(n, n.x(6), rank, rank - 1));
  return toCodes(n, compose.mul(b, sums, scale), alongAxis(n, n.x(7), rank, rank - 1), n.dtype(7));
};
