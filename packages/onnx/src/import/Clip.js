import { getAt } from '@bitloom/tensor';
/** Bounds: attributes before opset 11, then inputs, which may be computed. The upper bound wins where they cross. */
export const Clip = (n) => {
    if (n.opset < 11)
        return n.op('clip', [n.x(0)], { min: n.attrs.float('min', -Infinity), max: n.attrs.float('max', Infinity) });
    const [lo, hi] = [1, 2].map((i) => n.optional(i));
    const [min, max] = [lo, hi].map((id) => (id === null ? null : n.b.constantOf(id)));
    if ((lo === null || min) && (hi === null || max)) {
        return n.op('clip', [n.x(0)], { min: min ? getAt(min, 0) : -Infinity, max: max ? getAt(max, 0) : Infinity });
    }
    const above = lo === null ? n.x(0) : n.op('max', [n.x(0), lo]);
    return hi === null ? above : n.op('min', [above, hi]);
};
//# sourceMappingURL=Clip.js.map