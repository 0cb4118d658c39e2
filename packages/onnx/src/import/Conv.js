import { windowOf } from './windows.js';
export const Conv = (n) => {
    if (n.rank(0) < 3 || n.rank(1) !== n.rank(0))
        n.mismatch(`ranks ${n.rank(0)} and ${n.rank(1)}`, 'equal ranks of at least 3');
    const { strides, dilations, pads } = windowOf(n, n.shape(0).slice(2), n.shape(1).slice(2));
    return n.op('conv', n.optional(2) === null ? [n.x(0), n.x(1)] : n.all(), { strides, dilations, pads, group: n.attrs.int('group', 1) });
};
//# sourceMappingURL=Conv.js.map