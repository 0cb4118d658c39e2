/** Losses of classifiers. */
import type { GraphBuilder, ValueId } from '@bitloom/ir';
import { compose } from '@bitloom/ops';

const { add, mul, neg, reduceSum, scale, shift, sub } = compose;

/** Mean over the batch of a [batch, classes] table summed over the classes. */
const batchMean = (b: GraphBuilder, table: ValueId): ValueId => scale(b, reduceSum(b, table, [0, 1], false), 1 / b.shapeOf(table)[0]);

/**
 * Mean cross-entropy of logits [batch, classes] with one-hot targets; each gives `smoothing` of its weight to all classes alike (Szegedy
 * et al., arXiv 1512.00567, section 7).
 */
export function crossEntropy(b: GraphBuilder, logits: ValueId, oneHot: ValueId, smoothing = 0): ValueId {
  const classes = b.shapeOf(logits)[1];
  const targets = smoothing === 0 ? oneHot : shift(b, scale(b, oneHot, 1 - smoothing), smoothing / classes);
  return neg(b, batchMean(b, mul(b, b.add('log_softmax', [logits], { axis: 1 }), targets)));
}

/**
 * T²·KL(softmax(teacher/T) ‖ softmax(logits/T)), mean over the batch (Hinton et al., arXiv 1503.02531, section 2): its gradient is as large
 * as that of the cross-entropy at any temperature T.
 */
export function distillation(b: GraphBuilder, logits: ValueId, teacher: ValueId, temperature = 1): ValueId {
  const log = (z: ValueId): ValueId => b.add('log_softmax', [temperature === 1 ? z : scale(b, z, 1 / temperature)], { axis: 1 });
  const wanted = log(teacher);
  return scale(b, batchMean(b, mul(b, b.add('exp', [wanted]), sub(b, wanted, log(logits)))), temperature ** 2);
}

/** (1 − share)·a + share·b. */
export const blend = (b: GraphBuilder, first: ValueId, second: ValueId, share: number): ValueId =>
  (share === 0 ? first : share === 1 ? second : add(b, scale(b, first, 1 - share), scale(b, second, share)));
