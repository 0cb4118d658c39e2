export const DepthToSpace = (n) => {
    const [batch, c, h, w] = n.rank(0) === 4 ? n.shape(0) : n.unsupported(`rank ${n.rank(0)}`);
    const s = n.attrs.int('blocksize', 1);
    const out = c / (s * s);
    if (!Number.isInteger(out))
        n.mismatch(`${c} channels`, `a multiple of ${s * s}`);
    const crd = n.attrs.string('mode', 'DCR') === 'CRD';
    const split = n.reshape(n.x(0), crd ? [batch, out, s, s, h, w] : [batch, s, s, out, h, w]);
    return n.reshape(n.transpose(split, crd ? [0, 1, 4, 2, 5, 3] : [0, 3, 4, 1, 5, 2]), [batch, out, h * s, w * s]);
};
export const SpaceToDepth = (n) => {
    const [batch, c, h, w] = n.rank(0) === 4 ? n.shape(0) : n.unsupported(`rank ${n.rank(0)}`);
    const s = n.attrs.int('blocksize', 1);
    if (h % s !== 0 || w % s !== 0)
        n.mismatch(`${h}×${w}`, `multiples of ${s}`);
    const split = n.reshape(n.x(0), [batch, c, h / s, s, w / s, s]);
    return n.reshape(n.transpose(split, [0, 3, 5, 1, 2, 4]), [batch, c * s * s, h / s, w / s]);
};
//# sourceMappingURL=depth-space.js.map