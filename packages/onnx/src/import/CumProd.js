import { compose } from '@bitloom/ops';
const MAX_STEPS = 512;
/** Running product along an axis, unrolled. */
export const CumProd = (n) => {
    const { b } = n;
    const axis = n.axis(n.number(1, 'axis'), n.rank(0));
    const size = n.shape(0)[axis];
    if (size > MAX_STEPS)
        n.unsupported(`${size} steps, more than ${MAX_STEPS}`);
    const reverse = n.attrs.bool('reverse', false);
    const exclusive = n.attrs.bool('exclusive', false);
    const parts = new Array(size);
    let product = null;
    for (let s = 0; s < size; s++) {
        const at = reverse ? size - 1 - s : s;
        const x = compose.sliceAxis(b, n.x(0), axis, at, 1);
        const next = product === null ? x : compose.mul(b, product, x);
        parts[at] = exclusive ? (product ?? compose.broadcastTo(b, n.like(x, 1), b.shapeOf(x))) : next;
        product = next;
    }
    return size < 2 ? (parts[0] ?? n.x(0)) : n.op('concat', parts, { axis });
};
//# sourceMappingURL=CumProd.js.map