import type { OnnxImporter } from '../node.js';
import { centred, convolve } from './integer-codes.js';

/** Sums of products of 8-bit codes are exact in f32 up to 2^24, some 250 products of full range; longer sums could round. */
const MAX_EXACT = 256;

export const ConvInteger: OnnxImporter = (n) => {
  if (n.shape(1).slice(1).reduce((p, d) => p * d, 1) > MAX_EXACT) n.unsupported('integer sums that f32 may round');
  return n.cast(convolve(n, centred(n, n.x(0), n.optional(2), -1), centred(n, n.x(1), n.optional(3), 0)), 'i32');
};
