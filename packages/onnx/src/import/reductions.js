import { compose } from '@bitloom/ops';
import { isFloat } from '@bitloom/tensor';
const core = (op) => (n, x, axes, keepdims) => (axes.length === 0 ? x : n.op(op, [x], { axes, keepdims }));
const sum = core('reduce_sum');
const max = core('reduce_max');
/** Booleans are ordered as 0 < 1. */
const ordered = (op) => (n, x, axes, keepdims) => n.b.typeOf(x).dtype === 'bool' ? n.cast(core(op)(n, n.cast(x, 'u8'), axes, keepdims), 'bool') : core(op)(n, x, axes, keepdims);
/** m + log Σ exp(x − m) with m = max x, or 0 where that is infinite. */
const logSumExp = (n, x, axes, keepdims) => {
    const { b } = n;
    if (axes.some((a) => b.shapeOf(x)[a] === 0))
        return n.op('log', [sum(n, n.op('exp', [x]), axes, keepdims)]);
    const m = max(n, x, axes, true);
    const finite = compose.masked(b, n.op('less', [n.op('abs', [m]), n.like(m, Infinity)]), m);
    const s = n.op('log', [sum(n, n.op('exp', [compose.sub(b, x, finite)]), axes, true)]);
    const y = compose.add(b, s, finite);
    return keepdims ? y : n.reshape(y, b.shapeOf(x).filter((_, i) => !axes.includes(i)));
};
const RULES = {
    ReduceSum: sum,
    ReduceProd: core('reduce_prod'),
    ReduceMax: ordered('reduce_max'),
    ReduceMin: ordered('reduce_min'),
    ReduceMean: (n, x, axes, keepdims) => compose.reduceMean(n.b, x, axes, keepdims),
    ReduceL1: (n, x, axes, keepdims) => sum(n, n.op('abs', [x]), axes, keepdims),
    ReduceL2: (n, x, axes, keepdims) => {
        const { dtype } = n.b.typeOf(x);
        const s = sum(n, compose.square(n.b, x), axes, keepdims);
        return isFloat(dtype) ? n.op('sqrt', [s]) : n.cast(n.op('sqrt', [n.cast(s, 'f64')]), dtype);
    },
    ReduceLogSum: (n, x, axes, keepdims) => n.op('log', [sum(n, x, axes, keepdims)]),
    ReduceLogSumExp: logSumExp,
    ReduceSumSquare: (n, x, axes, keepdims) => sum(n, compose.square(n.b, x), axes, keepdims),
};
export const reductions = Object.fromEntries(Object.entries(RULES).map(([name, rule]) => [
    name,
    (n) => {
        const given = n.intsFrom('axes', 1) ?? [];
        const all = n.shape(0).map((_, i) => i);
        const keepdims = n.attrs.bool('keepdims', true);
        if (given.length > 0)
            return rule(n, n.x(0), n.axes(given, n.rank(0)), keepdims);
        return rule(n, n.x(0), n.attrs.bool('noop_with_empty_axes', false) ? [] : all, keepdims);
    },
]));
//# sourceMappingURL=reductions.js.map