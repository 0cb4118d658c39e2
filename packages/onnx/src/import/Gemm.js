import { compose } from '@bitloom/ops';
import { isFloat } from '@bitloom/tensor';
/** alpha·A'·B' + beta·C. A constant B becomes the weight of `linear`, and a C of one row its bias. */
export const Gemm = (n) => {
    const { b } = n;
    if (n.rank(0) !== 2 || n.rank(1) !== 2)
        n.mismatch(`ranks ${n.rank(0)} and ${n.rank(1)}`, 'matrices');
    const alpha = n.attrs.float('alpha', 1);
    const beta = n.attrs.float('beta', 1);
    if (!isFloat(n.dtype(0)) && !(Number.isInteger(alpha) && Number.isInteger(beta)))
        n.unsupported('fractions of integers');
    const a = n.attrs.bool('transA', false) ? n.transpose(n.x(0), [1, 0]) : n.x(0);
    const transB = n.attrs.bool('transB', false);
    const given = n.optional(2);
    const c = given === null || beta === 0 ? null : beta === 1 ? given : compose.scale(b, given, beta);
    if (!b.constantOf(n.x(1)) || n.dtype(1) !== 'f32') {
        const y = n.op('matmul', [a, transB ? n.transpose(n.x(1), [1, 0]) : n.x(1)]);
        const scaled = alpha === 1 ? y : compose.scale(b, y, alpha);
        return c === null ? scaled : n.op('add', [scaled, c]);
    }
    const rows = transB ? n.x(1) : n.transpose(n.x(1), [1, 0]);
    const w = alpha === 1 ? rows : compose.scale(b, rows, alpha);
    const shape = c === null ? [] : b.shapeOf(c);
    if (c === null || !b.constantOf(c) || (shape.length === 2 && shape[0] !== 1)) {
        const y = n.op('linear', [a, w]);
        return c === null ? y : n.op('add', [y, c]);
    }
    const [units] = b.shapeOf(w);
    const row = n.reshape(c, shape.slice(-1));
    if (![1, units].includes(b.shapeOf(row)[0] ?? 1))
        n.mismatch(`C [${shape.join(', ')}]`, `[${units}]`);
    return n.op('linear', [a, w, compose.broadcastTo(b, row, [units])]);
};
//# sourceMappingURL=Gemm.js.map