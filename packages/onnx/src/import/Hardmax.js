import { onFlattened } from './Softmax.js';
/** One at the first maximum along the axis, else zero. */
export const Hardmax = (n) => onFlattened(n, (x, axis) => {
    const shape = n.b.shapeOf(x);
    const at = n.op('arg_max', [x], { axis, keepdims: true, last: false });
    const index = n.positions(shape[axis], axis, shape.length);
    return n.cast(n.op('equal', [index, at]), n.b.typeOf(x).dtype);
});
//# sourceMappingURL=Hardmax.js.map