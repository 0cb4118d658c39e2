import { compose } from '@bitloom/ops';
import { floats } from './floats.js';
const { add, sub, mul, div, shift, square, reciprocal, reduceMean, reduceSum } = compose;
const from = (start, rank) => Array.from({ length: Math.max(0, rank - start) }, (_, i) => start + i);
/** (x − μ)/√(σ² + ε) over `axes`, with μ and 1/√(σ² + ε), both keeping their axes. */
function standardize(n, x, axes, epsilon) {
    const mean = reduceMean(n.b, x, axes, true);
    const centred = sub(n.b, x, mean);
    const variance = reduceMean(n.b, square(n.b, centred), axes, true);
    const inverse = reciprocal(n.b, n.op('sqrt', [shift(n.b, variance, epsilon)]));
    return { y: mul(n.b, centred, inverse), mean, inverse };
}
/** One value per channel, shaped to broadcast over [N, C, spatial…]. */
const perChannel = (n, v, rank) => n.reshape(v, [...n.b.shapeOf(v), ...new Array(Math.max(0, rank - 1 - n.b.shapeOf(v).length)).fill(1)]);
const affine = (n, y, scale, bias) => {
    const scaled = scale === null ? y : mul(n.b, y, scale);
    return bias === null ? scaled : add(n.b, scaled, bias);
};
/** y = x·k + c with k = scale/√(var + ε), c = bias − mean·k; constants unless the statistics are computed. */
const BatchNormalization = (n) => {
    const { b } = n;
    const [x, scale, bias, mean, variance] = n.all();
    const epsilon = n.attrs.float('epsilon', 1e-5);
    const rank = n.rank(0);
    if (n.shape(3).reduce((p, d) => p * d, 1) !== n.shape(1).reduce((p, d) => p * d, 1))
        n.mismatch(`mean [${n.shape(3).join(', ')}]`, `[${n.shape(1).join(', ')}]`);
    if (n.opset >= 14 && n.attrs.bool('training_mode', false)) {
        const axes = [0, ...from(2, rank)];
        const momentum = n.attrs.float('momentum', 0.9);
        const s = standardize(n, x, axes, epsilon);
        const flat = (v) => n.reshape(v, n.shape(3));
        const now = flat(s.mean);
        const spread = flat(reduceMean(b, square(b, sub(b, x, s.mean)), axes, true));
        const running = (old, v) => add(b, compose.scale(b, old, momentum), compose.scale(b, v, 1 - momentum));
        return [affine(n, s.y, perChannel(n, scale, rank), perChannel(n, bias, rank)), running(mean, now), running(variance, spread)];
    }
    const k = div(b, scale, n.op('sqrt', [shift(b, variance, epsilon)]));
    return affine(n, x, perChannel(n, k, rank), perChannel(n, sub(b, bias, mul(b, mean, k)), rank));
};
/** scale·(x − μ)/√(σ² + ε) + bias over each channel's image. */
const InstanceNormalization = (n) => {
    const rank = n.rank(0);
    const { y } = standardize(n, n.x(0), from(2, rank), n.attrs.float('epsilon', 1e-5));
    return affine(n, y, perChannel(n, n.x(1), rank), perChannel(n, n.x(2), rank));
};
/** Over all axes from `axis` on; also gives μ and 1/√(σ² + ε). */
const LayerNormalization = (n) => {
    const axes = from(n.axis(n.attrs.int('axis', -1), n.rank(0)), n.rank(0));
    const { y, mean, inverse } = standardize(n, n.x(0), axes, n.attrs.float('epsilon', 1e-5));
    return [affine(n, y, n.x(1), n.optional(2)), mean, inverse];
};
/** Over the channels of a group and their images; scale and bias are per group before opset 21, per channel from then on. */
const GroupNormalization = (n) => {
    const shape = n.shape(0);
    const groups = n.attrs.int('num_groups', 1);
    const [batch, channels] = shape;
    if (!(channels % groups === 0))
        n.mismatch(`${channels} channels`, `a multiple of ${groups}`);
    const split = n.reshape(n.x(0), [batch, groups, channels / groups, ...shape.slice(2)]);
    const { y } = standardize(n, split, from(2, shape.length + 1), n.attrs.float('epsilon', 1e-5));
    if (n.shape(1)[0] === groups && n.opset < 21)
        return n.reshape(affine(n, y, perChannel(n, n.x(1), shape.length + 1), perChannel(n, n.x(2), shape.length + 1)), shape);
    return affine(n, n.reshape(y, shape), perChannel(n, n.x(1), shape.length), perChannel(n, n.x(2), shape.length));
};
/** scale·x/√(mean(x²) + ε) over all axes from `axis` on. */
const RMSNormalization = (n) => {
    const axes = from(n.axis(n.attrs.int('axis', -1), n.rank(0)), n.rank(0));
    const power = reduceMean(n.b, square(n.b, n.x(0)), axes, true);
    return mul(n.b, mul(n.b, n.x(0), reciprocal(n.b, n.op('sqrt', [shift(n.b, power, n.attrs.float('epsilon', 1e-5))]))), n.x(1));
};
/** x/‖x‖_p along one axis, 0 where the norm is 0. */
const LpNormalization = (n) => {
    const { b } = n;
    const axes = [n.axis(n.attrs.int('axis', -1), n.rank(0))];
    const norm = n.attrs.int('p', 2) === 1 ? reduceSum(b, n.op('abs', [n.x(0)]), axes, true) : n.op('sqrt', [reduceSum(b, square(b, n.x(0)), axes, true)]);
    const zero = n.op('equal', [norm, n.like(norm, 0)]);
    return div(b, n.x(0), n.op('select', [zero, n.like(norm, 1), norm]));
};
/** (x − E x)/(√(E x² − (E x)²) + 1e-9) */
const MeanVarianceNormalization = (n) => {
    const { b } = n;
    const axes = n.axes(n.attrs.ints('axes', null) ?? [0, 2, 3], n.rank(0));
    const centred = sub(b, n.x(0), reduceMean(b, n.x(0), axes, true));
    const deviation = n.op('sqrt', [reduceMean(b, square(b, centred), axes, true)]);
    return div(b, centred, shift(b, deviation, 1e-9));
};
/** x/(bias + alpha·mean(x² over `size` neighbouring channels, zeros beyond the ends))^beta */
const LRN = (n) => {
    const { b } = n;
    const shape = n.shape(0);
    const size = n.attrs.int('size', 1);
    const image = shape.slice(2).reduce((p, d) => p * d, 1);
    const before = Math.floor((size - 1) / 2);
    const plane = n.reshape(square(b, n.x(0)), [shape[0], 1, shape[1], image]);
    const mean = n.op('avg_pool', [plane], {
        kernel: [size, 1], strides: [1, 1], pads: [before, 0, size - 1 - before, 0], dilations: [1, 1], ceilExtra: [0, 0], countIncludePad: true,
    });
    const base = shift(b, compose.scale(b, n.reshape(mean, shape), n.attrs.float('alpha', 1e-4)), n.attrs.float('bias', 1));
    return div(b, n.x(0), n.op('pow', [base, n.like(base, n.attrs.float('beta', 0.75))]));
};
export const normalizations = Object.fromEntries(Object.entries({
    BatchNormalization, InstanceNormalization, LayerNormalization, GroupNormalization, RMSNormalization, LpNormalization, MeanVarianceNormalization, LRN,
    'com.microsoft::SimplifiedLayerNormalization': RMSNormalization, SimplifiedLayerNormalization: RMSNormalization,
}).map(([name, f]) => [name, floats(f)]));
//# sourceMappingURL=normalizations.js.map