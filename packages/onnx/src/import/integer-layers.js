import { compose } from '@bitloom/ops';
import { isFloat } from '@bitloom/tensor';
import { matmul } from './MatMul.js';
import { windowOf } from './windows.js';
/** code − zero point in f32, exact; a zero point of rank 1 lies along `axis`. */
function centred(n, x, zero, axis) {
    const wide = n.cast(x, 'f32');
    return zero === null ? wide : compose.sub(n.b, wide, n.cast(alongAxis(n, zero, n.b.shapeOf(x).length, axis), 'f32'));
}
function alongAxis(n, p, rank, axis) {
    const shape = n.b.shapeOf(p);
    if (shape.length !== 1)
        return p;
    if (shape[0] === 1)
        return n.reshape(p, []);
    return n.reshape(p, Array.from({ length: rank }, (_, i) => (i === axis ? shape[0] : 1)));
}
/** saturate(round(x) + zero point) */
function toCodes(n, x, zero, to) {
    const range = { i8: [-128, 127], u8: [0, 255] }[to] ?? n.unsupported(`codes of type ${to}`);
    const float = n.b.typeOf(x).dtype;
    return n.cast(n.op('clip', [compose.add(n.b, n.op('round', [x]), n.cast(zero, float))], { min: range[0], max: range[1] }), to);
}
const convolve = (n, x, w) => {
    const { strides, dilations, pads } = windowOf(n, n.b.shapeOf(x).slice(2), n.b.shapeOf(w).slice(2));
    return n.op('conv', [x, w], { strides, dilations, pads, group: n.attrs.int('group', 1) });
};
/** Sums of products of 8-bit codes are exact in f32 up to 2^24, some 250 products of full range; longer sums could round. */
const MAX_EXACT = 256;
const ConvInteger = (n) => {
    if (n.shape(1).slice(1).reduce((p, d) => p * d, 1) > MAX_EXACT)
        n.unsupported('integer sums that f32 may round');
    return n.cast(convolve(n, centred(n, n.x(0), n.optional(2), -1), centred(n, n.x(1), n.optional(3), 0)), 'i32');
};
const MatMulInteger = (n) => {
    const rank = n.rank(0);
    const wide = (i, axis) => n.cast(centred(n, n.x(i), n.optional(i + 2), axis), 'f64');
    return n.cast(matmul(n, wide(0, rank - 2), wide(1, n.rank(1) - 1)), 'i32');
};
/** Scales multiply the result; x, w and y each have one scale and zero point, w optionally one per output channel. */
const QLinearConv = (n) => {
    const { b } = n;
    const rank = n.rank(0);
    const sums = convolve(n, centred(n, n.x(0), n.x(2), -1), centred(n, n.x(3), n.x(5), 0));
    const input = n.reshape(n.x(1), []);
    const scale = compose.div(b, compose.mul(b, input, alongAxis(n, n.x(4), rank, 1)), n.reshape(n.x(6), []));
    const real = compose.mul(b, n.optional(8) === null ? sums : compose.add(b, sums, alongAxis(n, n.cast(n.x(8), 'f32'), rank, 1)), scale);
    return toCodes(n, real, alongAxis(n, n.x(7), 0, 0), n.dtype(7));
};
const QLinearMatMul = (n) => {
    const { b } = n;
    if (!isFloat(n.dtype(1)))
        n.unsupported(`${n.dtype(1)} scales`);
    const sums = matmul(n, centred(n, n.x(0), n.x(2), n.rank(0) - 2), centred(n, n.x(3), n.x(5), n.rank(3) - 1));
    const rank = b.shapeOf(sums).length;
    const scale = compose.div(b, compose.mul(b, alongAxis(n, n.x(1), rank, rank - 2), alongAxis(n, n.x(4), rank, rank - 1)), alongAxis(n, n.x(6), rank, rank - 1));
    return toCodes(n, compose.mul(b, sums, scale), alongAxis(n, n.x(7), rank, rank - 1), n.dtype(7));
};
/** scale = (max(x, 0) − min(x, 0))/255, zero point = round(clip(−min/scale)), y = saturate(round(x/scale) + zero point) */
const DynamicQuantizeLinear = (n) => {
    const { b } = n;
    const x = n.x(0);
    const axes = n.shape(0).map((_, i) => i);
    const extreme = (reduce, pick) => {
        const v = axes.length === 0 ? x : n.op(reduce, [x], { axes, keepdims: false });
        return n.op(pick, [v, n.like(x, 0)]);
    };
    const low = extreme('reduce_min', 'min');
    const scale = compose.div(b, compose.sub(b, extreme('reduce_max', 'max'), low), n.like(x, 255));
    const zero = n.op('round', [n.op('clip', [compose.sub(b, n.like(x, 0), compose.div(b, low, scale))], { min: 0, max: 255 })]);
    return [toCodes(n, compose.div(b, x, scale), zero, 'u8'), scale, n.cast(zero, 'u8')];
};
export const integerLayers = { ConvInteger, MatMulInteger, QLinearConv, QLinearMatMul, DynamicQuantizeLinear };
//# sourceMappingURL=integer-layers.js.map