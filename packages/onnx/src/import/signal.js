import { compose } from '@bitloom/ops';
import { onnxType } from '../data-types.js';
/** Σ aₖ·cos(2πk·i/N) with N the size, or one less for a symmetric window. */
const cosineWindow = (...a) => (n) => {
    const size = n.number(0, 'size');
    const period = n.attrs.bool('periodic', true) ? size : size - 1;
    const { dtype } = onnxType(n.attrs.int('output_datatype', 1), n.name);
    return n.generate(dtype, [size], (i) => a.reduce((sum, ak, k) => sum + ak * Math.cos((2 * Math.PI * k * i) / period), 0));
};
/** cos and sin of 2πkj/N, rows k < `rows`, columns j < `columns`, times `factor`. */
function fourier(n, dtype, size, rows, columns, factor) {
    const table = (f) => n.generate(dtype, [rows, columns], (i) => factor * f((2 * Math.PI * ((Math.floor(i / columns) * (i % columns)) % size)) / size));
    return [table(Math.cos), table(Math.sin)];
}
/** Transform of `size` points along the last axis of real and imaginary parts; gives both parts. */
function transform(n, re, im, size, rows, inverse) {
    const { b } = n;
    const shape = b.shapeOf(re);
    const [cos, sin] = fourier(n, b.typeOf(re).dtype, size, rows, shape[shape.length - 1], inverse ? 1 / size : 1);
    const times = (x, m) => n.op('matmul', [x, n.transpose(m, [1, 0])]);
    const sign = inverse ? 'add' : 'sub';
    if (im === null)
        return [times(re, cos), inverse ? times(re, sin) : n.op('neg', [times(re, sin)])];
    return [
        n.op(inverse ? 'sub' : 'add', [times(re, cos), times(im, sin)]),
        n.op(sign, [times(im, cos), times(re, sin)]),
    ];
}
const complex = (n, re, im) => {
    const shape = [...n.b.shapeOf(re), 1];
    return n.op('concat', [n.reshape(re, shape), n.reshape(im, shape)], { axis: shape.length - 1 });
};
/** Real or imaginary part of something whose last axis holds them. */
const part = (n, x, i) => {
    const shape = n.b.shapeOf(x);
    return n.reshape(compose.sliceAxis(n.b, x, shape.length - 1, i, 1), shape.slice(0, -1));
};
/** The axis is an attribute before opset 20, then an input. */
const DFT = (n) => {
    const { b } = n;
    const rank = n.rank(0);
    const axis = n.axis(n.opset < 20 ? n.attrs.int('axis', 1) : n.number(2, 'axis', -2), rank);
    const inverse = n.attrs.bool('inverse', false);
    const onesided = n.attrs.bool('onesided', false);
    if (axis === rank - 1)
        n.unsupported('the axis of real and imaginary parts');
    if (inverse && onesided)
        n.unsupported('a one-sided inverse');
    const size = n.number(1, 'dft_length', n.shape(0)[axis]);
    const order = [...n.shape(0).map((_, i) => i).filter((i) => i !== axis && i !== rank - 1), axis];
    const cropped = compose.sliceAxis(b, n.x(0), axis, 0, Math.min(size, n.shape(0)[axis])); // zeros beyond the end add nothing
    const of = (i) => n.transpose(part(n, cropped, i), order);
    const [re, im] = transform(n, of(0), n.shape(0)[rank - 1] === 2 ? of(1) : null, size, onesided ? Math.floor(size / 2) + 1 : size, inverse);
    const back = (x) => n.transpose(x, order.map((_, i) => order.indexOf(i)));
    return complex(n, back(re), back(im));
};
/** Fourier transforms of windowed frames: [batch, frames, bins, 2]. */
const STFT = (n) => {
    const { b } = n;
    const [batch, length, parts] = n.shape(0).length === 3 ? n.shape(0) : [...n.shape(0), 1];
    const step = n.number(1, 'frame_step');
    const window = n.optional(2);
    const size = n.number(3, 'frame_length', window === null ? undefined : b.shapeOf(window)[0]);
    const frames = Math.floor((length - size) / step) + 1;
    if (!(step >= 1) || !(frames >= 1))
        n.mismatch(`${length} samples`, `frames of ${size} every ${step}`);
    const index = n.generate('i64', [frames, size], (i) => Math.floor(i / size) * step + (i % size));
    const signal = n.reshape(n.x(0), [batch, length, parts]);
    const framed = (i) => {
        const x = n.op('gather', [part(n, signal, i), index], { axis: 1 });
        return window === null ? x : compose.mul(b, x, window);
    };
    const bins = n.attrs.bool('onesided', true) ? Math.floor(size / 2) + 1 : size;
    return complex(n, ...transform(n, framed(0), parts === 2 ? framed(1) : null, size, bins, false));
};
export const signal = {
    HannWindow: cosineWindow(0.5, -0.5),
    HammingWindow: cosineWindow(25 / 46, -21 / 46),
    BlackmanWindow: cosineWindow(0.42, -0.5, 0.08),
    DFT,
    STFT,
};
//# sourceMappingURL=signal.js.map