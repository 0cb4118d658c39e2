import type { OnnxImporter } from '../node.js';
import { negativeLogLikelihood } from './NegativeLogLikelihoodLoss.js';

/** Negative log likelihood of log softmax over axis 1, which is the second output. */
export const SoftmaxCrossEntropyLoss: OnnxImporter = (n) => {
  const logarithm = n.op('log_softmax', [n.x(0)], { axis: 1 });
  return [negativeLogLikelihood(n, logarithm, n.x(1), n.optional(2)), logarithm];
};
