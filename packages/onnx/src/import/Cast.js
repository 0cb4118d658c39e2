import { isFloat } from '@bitloom/tensor';
import { isNarrow, onnxType } from '../data-types.js';
/** A value as another ONNX type. Half precision is kept as f32, unrounded; narrower floats are not kept at all. */
export function castTo(n, x, type) {
    const to = onnxType(type.code, n.name);
    if (to.float && isNarrow(to))
        n.unsupported(`cast to ${to.name}`);
    if (to.bits >= 8)
        return n.cast(x, to.dtype);
    // Narrow integers wrap: the low bits, sign-extended.
    const whole = isFloat(n.b.typeOf(x).dtype) ? n.cast(n.op('clip', [x], { min: -(2 ** 31), max: 2 ** 31 - 1 }), 'i32') : n.cast(x, 'i32');
    const size = 2 ** to.bits;
    const low = n.op('and', [whole, n.like(whole, size - 1)]);
    const signed = n.op('select', [n.op('less', [n.like(low, size / 2 - 1), low]), n.op('sub', [low, n.like(low, size)]), low]);
    const y = n.cast(to.dtype === 'i8' ? signed : low, to.dtype);
    n.b.narrow.set(y, to.bits);
    return y;
}
export const Cast = (n) => castTo(n, n.x(0), onnxType(n.attrs.int('to', 0), n.name));
//# sourceMappingURL=Cast.js.map