/**
 * Applies `f` along the `axis` attribute. Before opset 13 the tensor is seen as a matrix whose columns are all axes from
 * `axis` (default 1) on; from 13 on `axis` (default −1) is one axis.
 */
export function onFlattened(n, f) {
    const x = n.x(0);
    const shape = n.shape(0);
    if (n.opset >= 13)
        return f(x, n.axis(n.attrs.int('axis', -1), shape.length));
    const given = n.attrs.int('axis', 1);
    const axis = given === shape.length ? given : n.axis(given, shape.length);
    if (axis === shape.length - 1)
        return f(x, axis);
    const size = (from, to) => shape.slice(from, to).reduce((p, d) => p * d, 1);
    return n.reshape(f(n.reshape(x, [size(0, axis), size(axis, shape.length)]), 1), shape);
}
export const Softmax = (n) => onFlattened(n, (x, axis) => n.op('softmax', [x], { axis }));
export const LogSoftmax = (n) => onFlattened(n, (x, axis) => n.op('log_softmax', [x], { axis }));
//# sourceMappingURL=Softmax.js.map