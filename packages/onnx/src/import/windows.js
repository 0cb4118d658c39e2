/**
 * Geometry of a sliding window over `spatial`. SAME pads so that the output has ceil(size/stride) elements, the odd one at the
 * end (SAME_UPPER) or the beginning (SAME_LOWER).
 */
export function windowOf(n, spatial, kernel) {
    const rank = spatial.length;
    const list = (name, absent) => {
        const v = n.attrs.ints(name, null) ?? new Array(rank).fill(absent);
        if (v.length !== rank)
            n.mismatch(`${name} [${v.join(', ')}]`, `${rank} values`);
        if (v.some((s) => s < 1))
            n.mismatch(`${name} [${v.join(', ')}]`, 'positive values');
        return v;
    };
    if (kernel.length !== rank)
        n.mismatch(`kernel [${kernel.join(', ')}]`, `${rank} values`);
    const strides = list('strides', 1);
    const dilations = list('dilations', 1);
    const auto = n.attrs.string('auto_pad', 'NOTSET');
    let pads = n.attrs.ints('pads', null) ?? new Array(2 * rank).fill(0);
    if (auto === 'VALID')
        pads = new Array(2 * rank).fill(0);
    else if (auto !== 'NOTSET') {
        const total = spatial.map((d, i) => Math.max(0, (Math.ceil(d / strides[i]) - 1) * strides[i] + (kernel[i] - 1) * dilations[i] + 1 - d));
        const small = total.map((t) => Math.floor(t / 2));
        const large = total.map((t, i) => t - small[i]);
        pads = auto === 'SAME_UPPER' ? [...small, ...large] : [...large, ...small];
    }
    if (pads.length !== 2 * rank)
        n.mismatch(`pads [${pads.join(', ')}]`, `${2 * rank} values`);
    return { kernel: [...kernel], strides, dilations, pads };
}
/**
 * Padding at the end of each axis that `ceil_mode` adds. A window that would start beyond the input and its leading padding
 * is left out (ONNX since opset 19, and PyTorch).
 */
export function ceilExtra(n, spatial, w) {
    const rank = spatial.length;
    return spatial.map((d, i) => {
        if (!n.attrs.bool('ceil_mode', false))
            return 0;
        const reach = (w.kernel[i] - 1) * w.dilations[i] + 1;
        const padded = d + w.pads[i] + w.pads[rank + i];
        let out = Math.ceil((padded - reach) / w.strides[i]) + 1;
        if ((out - 1) * w.strides[i] >= d + w.pads[i])
            out--;
        return Math.max(0, (out - 1) * w.strides[i] + reach - padded);
    });
}
//# sourceMappingURL=windows.js.map