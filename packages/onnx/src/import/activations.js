import { compose } from '@bitloom/ops';
import { floats } from './floats.js';
const { add, mul, div, scale, shift, greater, masked } = compose;
const clip = (n, x, min, max) => n.op('clip', [x], { min, max });
const relu = (n, x) => n.op('relu', [x]);
/** exp(min(x, 0)·k) − 1: the exponential branch, kept from overflowing where it is not taken. */
const expm1Negative = (n, x, k = 1) => {
    const low = clip(n, x, -Infinity, 0);
    return shift(n.b, n.op('exp', [k === 1 ? low : scale(n.b, low, k)]), -1);
};
/** log(1 + exp(x)) = max(x, 0) + log(1 + exp(−|x|)) */
const softplus = (n, x) => {
    const e = n.op('exp', [n.op('neg', [n.op('abs', [x])])]);
    return add(n.b, relu(n, x), n.op('log', [shift(n.b, e, 1)]));
};
const leaky = (n, x, slope) => n.op('select', [n.op('less', [x, n.like(x, 0)]), mul(n.b, x, slope), x]);
/** x·sigmoid(alpha·x) */
function swish(n, x) {
    const alpha = n.attrs.float('alpha', 1);
    return mul(n.b, x, n.op('sigmoid', [alpha === 1 ? x : scale(n.b, x, alpha)]));
}
/** x·Φ(x), or with tanh: x/2·(1 + tanh(√(2/π)·(x + 0.044715·x³))) */
export function gelu(n, x, tanh) {
    const inner = tanh
        ? n.op('tanh', [scale(n.b, add(n.b, x, scale(n.b, mul(n.b, x, mul(n.b, x, x)), 0.044715)), Math.sqrt(2 / Math.PI))])
        : n.op('erf', [scale(n.b, x, Math.SQRT1_2)]);
    return mul(n.b, scale(n.b, x, 0.5), shift(n.b, inner, 1));
}
const FLOAT_ONLY = {
    LeakyRelu: (n) => {
        const x = n.x(0);
        const alpha = n.attrs.float('alpha', 0.01);
        // For 0 ≤ alpha ≤ 1 it is max(x, alpha·x).
        return alpha >= 0 && alpha <= 1 ? n.op('max', [x, scale(n.b, x, alpha)]) : leaky(n, x, n.like(x, alpha));
    },
    /** x for x > 0, else alpha·(exp(x) − 1) */
    Elu: (n) => add(n.b, relu(n, n.x(0)), scale(n.b, expm1Negative(n, n.x(0)), n.attrs.float('alpha', 1))),
    /** gamma·(x for x > 0, else alpha·(exp(x) − 1)) */
    Selu: (n) => {
        const alpha = n.attrs.float('alpha', 1.67326319217681884765625);
        const gamma = n.attrs.float('gamma', 1.05070102214813232421875);
        return scale(n.b, add(n.b, relu(n, n.x(0)), scale(n.b, expm1Negative(n, n.x(0)), alpha)), gamma);
    },
    /** max(0, x) + min(0, alpha·(exp(x/alpha) − 1)) */
    Celu: (n) => {
        const alpha = n.attrs.float('alpha', 1);
        return add(n.b, relu(n, n.x(0)), scale(n.b, expm1Negative(n, n.x(0), 1 / alpha), alpha));
    },
    /** clip(alpha·x + beta, 0, 1) */
    HardSigmoid: (n) => clip(n, shift(n.b, scale(n.b, n.x(0), n.attrs.float('alpha', 0.2)), n.attrs.float('beta', 0.5)), 0, 1),
    /** x·clip(x/6 + 1/2, 0, 1) */
    HardSwish: (n) => mul(n.b, n.x(0), clip(n, shift(n.b, scale(n.b, n.x(0), 1 / 6), 0.5), 0, 1)),
    Swish: (n) => swish(n, n.x(0)),
    /** swish(a)·b */
    SwiGLU: (n) => mul(n.b, swish(n, n.x(0)), n.x(1)),
    /** x·tanh(softplus(x)) */
    Mish: (n) => mul(n.b, n.x(0), n.op('tanh', [softplus(n, n.x(0))])),
    Softplus: (n) => softplus(n, n.x(0)),
    /** x/(1 + |x|) */
    Softsign: (n) => div(n.b, n.x(0), shift(n.b, n.op('abs', [n.x(0)]), 1)),
    Gelu: (n) => gelu(n, n.x(0), n.attrs.string('approximate', 'none') === 'tanh'),
    'com.microsoft::Gelu': (n) => gelu(n, n.x(0), false),
    'com.microsoft::FastGelu': (n) => gelu(n, n.optional(1) === null ? n.x(0) : add(n.b, n.x(0), n.x(1)), true),
    'com.microsoft::QuickGelu': (n) => mul(n.b, n.x(0), n.op('sigmoid', [scale(n.b, n.x(0), n.attrs.float('alpha', 1.702))])),
    /** x where x > alpha, else 0 */
    ThresholdedRelu: (n) => masked(n.b, greater(n.b, n.x(0), n.like(n.x(0), n.attrs.float('alpha', 1))), n.x(0)),
    /** x + bias below −lambd, x − bias above lambd, else 0 */
    Shrink: (n) => {
        const x = n.x(0);
        const lambd = n.attrs.float('lambd', 0.5);
        const bias = n.attrs.float('bias', 0);
        const low = masked(n.b, n.op('less', [x, n.like(x, -lambd)]), shift(n.b, x, bias));
        return n.op('select', [greater(n.b, x, n.like(x, lambd)), shift(n.b, x, -bias), low]);
    },
};
export const activations = {
    ...Object.fromEntries(Object.entries(FLOAT_ONLY).map(([name, f]) => [name, floats(f)])),
    PRelu: (n) => leaky(n, n.x(0), n.x(1)),
};
//# sourceMappingURL=activations.js.map