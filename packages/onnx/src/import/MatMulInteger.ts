import type { ValueId } from '@bitloom/ir';
import type { OnnxImporter } from '../node.js';
import { centred } from './integer-codes.js';
import { matmul } from './MatMul.js';

export const MatMulInteger: OnnxImporter = (n) => {
  const rank = n.rank(0);
  const wide = (i: number, axis: number): ValueId => n.cast(centred(n, n.x(i), n.optional(i + 2), axis), 'f64');
  return n.cast(matmul(n, wide(0, rank - 2), wide(1, n.rank(1) - 1)), 'i32');
};
