import { rowMajorStrides } from '@bitloom/tensor';
/** Base coordinates in [−1, 1], homogeneous, times θᵀ: grid [N, (D,) H, W, 2 or 3]. */
export const AffineGrid = (n) => {
    const [, , ...spatial] = n.list(1, 'size');
    const rank = spatial.length;
    const corners = n.attrs.bool('align_corners', false);
    const points = spatial.reduce((p, d) => p * d, 1);
    const at = (axis, i) => (corners ? (spatial[axis] === 1 ? -1 : -1 + (2 * i) / (spatial[axis] - 1)) : (2 * i + 1) / spatial[axis] - 1);
    // x (the last axis) comes first.
    const strides = rowMajorStrides(spatial);
    const base = n.generate(n.dtype(0), [1, points, rank + 1], (i) => {
        const axis = rank - 1 - (i % (rank + 1));
        return axis < 0 ? 1 : at(axis, Math.floor(Math.floor(i / (rank + 1)) / strides[axis]) % spatial[axis]);
    });
    const [batch] = n.shape(0);
    return n.reshape(n.op('matmul', [base, n.transpose(n.x(0), [0, 2, 1])]), [batch, ...spatial, rank]);
};
//# sourceMappingURL=AffineGrid.js.map