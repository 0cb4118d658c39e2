import { compose } from '@bitloom/ops';
/** The slices where a constant condition holds, along an axis or of the flattened tensor. */
export const Compress = (n) => {
    const kept = n.list(1, 'condition').flatMap((v, i) => (v !== 0 ? [i] : []));
    const axis = n.attrs.int('axis', null);
    const flat = axis === null ? n.reshape(n.x(0), [n.shape(0).reduce((p, d) => p * d, 1)]) : n.x(0);
    return n.op('gather', [flat, compose.indexConst(n.b, kept)], { axis: axis === null ? 0 : n.axis(axis, n.rank(0)) });
};
//# sourceMappingURL=Compress.js.map