/** a·b with numpy's rules; a constant matrix on the right becomes the weight of `linear`. */
export function matmul(n, a, b) {
    const left = n.b.shapeOf(a);
    const right = n.b.shapeOf(b);
    if (left.length === 0 || right.length === 0)
        n.mismatch('a scalar operand', 'rank 1 or more');
    if (left.length === 1) {
        const y = matmul(n, n.reshape(a, [1, left[0]]), b);
        const shape = n.b.shapeOf(y);
        return n.reshape(y, right.length === 1 ? [] : [...shape.slice(0, -2), shape[shape.length - 1]]);
    }
    if (right.length === 1) {
        const y = matmul(n, a, n.reshape(b, [right[0], 1]));
        return n.reshape(y, n.b.shapeOf(y).slice(0, -1));
    }
    if (right.length === 2 && n.b.constantOf(b) && n.b.typeOf(b).dtype === 'f32')
        return n.op('linear', [a, n.transpose(b, [1, 0])]);
    return n.op('matmul', [a, b]);
}
export const MatMul = (n) => matmul(n, n.x(0), n.x(1));
//# sourceMappingURL=MatMul.js.map