/** `k` is an attribute before opset 10. */
export const TopK = (n) => {
    const k = n.opset < 10 ? n.attrs.int('k', 0) : n.number(1, 'k');
    const axis = n.axis(n.attrs.int('axis', -1), n.rank(0));
    if (!(k >= 0 && k <= n.shape(0)[axis]))
        n.mismatch(`k = ${k}`, `0 to ${n.shape(0)[axis]}`);
    return n.b.addMany('topk', [n.x(0)], { axis, k, largest: n.attrs.bool('largest', true), sorted: n.attrs.bool('sorted', true) });
};
//# sourceMappingURL=TopK.js.map