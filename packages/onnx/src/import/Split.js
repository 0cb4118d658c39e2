import { compose } from '@bitloom/ops';
/** Sizes are an attribute before opset 13, then an input; without them equal parts, the last one shorter. */
export const Split = (n) => {
    const axis = n.axis(n.attrs.int('axis', 0), n.rank(0));
    const d = n.shape(0)[axis];
    const parts = n.outputs.length;
    if (n.attrs.int('num_outputs', parts) !== parts)
        n.mismatch(`num_outputs ${n.attrs.int('num_outputs', parts)}`, `${parts} outputs`);
    const part = Math.ceil(d / parts);
    const sizes = n.intsFrom('split', 1) ?? Array.from({ length: parts }, (_, i) => Math.max(0, Math.min(part, d - i * part)));
    if (sizes.some((s) => s < 0) || sizes.reduce((p, s) => p + s, 0) !== d)
        n.mismatch(`parts ${sizes.join(', ')}`, `a sum of ${d}`);
    let start = 0;
    return sizes.map((size) => {
        const y = compose.sliceAxis(n.b, n.x(0), axis, size === 0 ? 0 : start, size);
        start += size;
        return y;
    });
};
//# sourceMappingURL=Split.js.map