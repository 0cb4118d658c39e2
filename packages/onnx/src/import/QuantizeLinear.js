import { isBits } from '@bitloom/numerics';
import { compose } from '@bitloom/ops';
import { getAt, isFloat, toNumbers } from '@bitloom/tensor';
import { onnxType } from '../data-types.js';
/** Scale or zero point, shaped to broadcast over `shape`: per tensor, per index of `axis`, or per block along it. */
function spread(n, p, shape) {
    const own = n.b.shapeOf(p);
    if (own.length === 0 || (own.length === 1 && own[0] === 1))
        return n.reshape(p, []);
    const axis = n.axis(n.attrs.int('axis', 1), shape.length);
    if (own.length === 1 && n.attrs.int('block_size', 0) === 0)
        return n.reshape(p, shape.map((d, i) => (i === axis ? own[0] : 1)));
    const block = n.attrs.int('block_size', 0) || Math.ceil(shape[axis] / own[axis]);
    if (own.length !== shape.length)
        n.mismatch(`scale [${own.join(', ')}]`, `blocks of [${shape.join(', ')}]`);
    const split = n.reshape(p, [...own.slice(0, axis + 1), 1, ...own.slice(axis + 1)]);
    const wide = compose.broadcastTo(n.b, split, [...own.slice(0, axis + 1), block, ...own.slice(axis + 1)]);
    const merged = n.reshape(wide, own.map((d, i) => (i === axis ? d * block : d)));
    return compose.sliceAxis(n.b, merged, axis, 0, shape[axis]);
}
/** Integer type of the codes: by the zero point, by `output_dtype`, or u8. */
function codeType(n) {
    const zero = n.optional(2);
    const named = n.attrs.int('output_dtype', 0);
    const t = zero !== null ? n.b.typeOf(zero).dtype : named ? onnxType(named, n.name).dtype : 'u8';
    const bits = zero !== null ? n.b.narrow.get(zero) : named ? onnxType(named, n.name).bits : 8;
    if (isFloat(t))
        n.unsupported('codes in 8-bit or 4-bit floating point');
    const size = { i8: 8, u8: 8, i16: 16, u16: 16, i32: 32 }[t] ?? n.unsupported(`codes of type ${t}`);
    return { dtype: t, bits: Math.min(bits ?? size, size), signed: t.startsWith('i') };
}
/** clip(round(x/scale) + zero point), saturating */
export const QuantizeLinear = (n) => {
    const { b } = n;
    const x = isFloat(n.dtype(0)) ? n.x(0) : n.cast(n.x(0), 'f32');
    const { dtype, bits, signed } = codeType(n);
    const float = b.typeOf(x).dtype;
    const shape = n.shape(0);
    const scale = n.cast(spread(n, n.x(1), shape), float);
    const zero = n.optional(2) === null ? null : spread(n, n.x(2), shape);
    const lo = signed ? -(2 ** (bits - 1)) : 0;
    const hi = signed ? 2 ** (bits - 1) - 1 : 2 ** bits - 1;
    const rounded = n.op('round', [compose.div(b, x, scale)]);
    const y = n.cast(n.op('clip', [zero === null ? rounded : compose.add(b, rounded, n.cast(zero, float))], { min: lo, max: hi }), dtype);
    if (bits < 8)
        b.narrow.set(y, bits);
    const s = b.constantOf(scale);
    const z = zero === null ? null : b.constantOf(zero);
    if (s?.data.length === 1 && (zero === null || z?.data.length === 1) && isBits(bits) && !b.constantOf(y) && float === 'f32') {
        b.quantized.set(y, { real: x, scale: getAt(s, 0), zeroPoint: z ? getAt(z, 0) : 0, bits, signed });
    }
    return y;
};
/** Ops whose results cannot be negative. */
const NON_NEGATIVE = new Set(['relu', 'sigmoid', 'softmax', 'max_pool', 'avg_pool', 'abs', 'clip']);
/**
 * The float value that was quantised, annotated. Exporters leave out a rectifier whose range the codes have, so a range that
 * begins at zero stays in the float graph as a clip.
 */
function annotate(n, q) {
    const { b } = n;
    if (!isBits(q.bits))
        return null;
    const shift = q.signed ? 2 ** (q.bits - 1) : 0;
    const zeroPoint = q.zeroPoint + shift;
    const implied = zeroPoint === 0 && !NON_NEGATIVE.has(b.producerOf(q.real));
    const x = implied ? n.op('clip', [q.real], { min: 0, max: Math.fround(q.scale * (2 ** q.bits - 1)) }) : q.real;
    const old = b.annotations.get(x);
    if (old && (old.scheme.bits !== q.bits || old.scale[0] !== Math.fround(q.scale) || old.zeroPoint[0] !== zeroPoint))
        return null;
    b.annotations.set(x, { scheme: { bits: q.bits, signed: false, axis: null }, scale: Float32Array.of(q.scale), zeroPoint: Int32Array.of(zeroPoint) });
    return x;
}
/** (x − zero point)·scale */
export const DequantizeLinear = (n) => {
    const { b } = n;
    const x = n.x(0);
    const shape = n.shape(0);
    const scale = b.constantOf(n.x(1));
    const zero = n.optional(2) === null ? null : n.x(2);
    const zeros = zero === null ? [0] : b.constantOf(zero) && toNumbers(b.constantOf(zero));
    const q = b.quantized.get(x);
    if (q && scale?.data.length === 1 && zeros?.length === 1 && getAt(scale, 0) === q.scale && zeros[0] === q.zeroPoint) {
        const real = annotate(n, q);
        if (real !== null)
            return real;
    }
    const narrow = b.narrow.get(x);
    const wide = isFloat(n.dtype(0)) ? x : n.cast(x, ['i8', 'u8', 'i16', 'u16'].includes(n.dtype(0)) ? 'f32' : 'f64');
    const centred = zero === null ? wide : compose.sub(b, wide, n.cast(spread(n, zero, shape), b.typeOf(wide).dtype));
    const to = b.typeOf(n.x(1)).dtype;
    const y = compose.mul(b, n.cast(centred, to), spread(n, n.x(1), shape));
    // Symmetric weights, perhaps stored with half the range added.
    const bits = narrow ?? 8;
    const middle = n.dtype(0) === 'u8' ? 2 ** (bits - 1) : 0;
    if (b.constantOf(x) && ['i8', 'u8'].includes(n.dtype(0)) && zeros?.every((z) => z === middle) && scale && b.shapeOf(n.x(1)).length <= 1) {
        const axis = scale.data.length === 1 ? null : n.axis(n.attrs.int('axis', 1), shape.length);
        if (isBits(bits)) {
            b.annotations.set(y, { scheme: { bits, signed: true, axis }, scale: Float32Array.from(toNumbers(scale)), zeroPoint: new Int32Array(scale.data.length) });
        }
    }
    return y;
};
//# sourceMappingURL=QuantizeLinear.js.map