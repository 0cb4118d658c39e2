import { compose } from '@bitloom/ops';
const { mul, masked, reduceSum } = compose;
/** −w[t]·x[n, t, …], 0 at ignored targets; its sum, or its mean weighted by w. */
function negativeLogLikelihood(n, x, target, weight) {
    const { b } = n;
    const at = b.shapeOf(target);
    const t = n.cast(target, 'i64');
    const ignored = n.attrs.int('ignore_index', null);
    const kept = ignored === null ? null : n.op('not', [n.op('equal', [t, n.like(t, ignored)])]);
    const index = kept === null ? t : masked(b, kept, t);
    const picked = n.reshape(n.op('gather_elements', [x, n.reshape(index, [at[0], 1, ...at.slice(1)])], { axis: 1 }), at);
    let w = weight === null ? null : n.op('gather', [weight, index], { axis: 0 });
    if (kept !== null)
        w = masked(b, kept, w ?? compose.broadcastTo(b, n.like(picked, 1), at));
    const loss = n.op('neg', [w === null ? picked : mul(b, w, picked)]);
    const reduction = n.attrs.string('reduction', 'mean');
    if (reduction === 'none')
        return loss;
    const axes = at.map((_, i) => i);
    const sum = reduceSum(b, loss, axes, false);
    if (reduction === 'sum')
        return sum;
    return compose.div(b, sum, w === null ? n.like(sum, at.reduce((p, d) => p * d, 1)) : reduceSum(b, w, axes, false));
}
export const NegativeLogLikelihoodLoss = (n) => negativeLogLikelihood(n, n.x(0), n.x(1), n.optional(2));
/** The same on log softmax over axis 1, which is the second output. */
export const SoftmaxCrossEntropyLoss = (n) => {
    const logarithm = n.op('log_softmax', [n.x(0)], { axis: 1 });
    return [negativeLogLikelihood(n, logarithm, n.x(1), n.optional(2)), logarithm];
};
//# sourceMappingURL=losses.js.map