import { compose } from '@bitloom/ops';
/** values[1] where the index (negative counts from `depth`) equals the position along the new axis, else values[0]. */
export const OneHot = (n) => {
    const depth = n.number(1, 'depth');
    const rank = n.rank(0);
    const axis = n.axis(n.attrs.int('axis', -1), rank + 1);
    const idx = n.cast(n.x(0), 'i64');
    const wrapped = n.op('select', [n.op('less', [idx, n.like(idx, 0)]), compose.shift(n.b, idx, depth), idx]);
    const at = n.reshape(wrapped, [...n.shape(0).slice(0, axis), 1, ...n.shape(0).slice(axis)]);
    const positions = n.positions(depth, axis, rank + 1);
    const [off, on] = [0, 1].map((i) => n.reshape(compose.sliceAxis(n.b, n.x(2), 0, i, 1), []));
    return n.op('select', [n.op('equal', [positions, at]), on, off]);
};
//# sourceMappingURL=OneHot.js.map