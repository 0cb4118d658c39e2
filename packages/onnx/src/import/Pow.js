import { isFloat } from '@bitloom/tensor';
/** The result has the base's type; operands of different types meet in floating point. */
export const Pow = (n) => {
    const [to, exponent] = [n.dtype(0), n.dtype(1)];
    if (to === exponent)
        return n.op('pow', [n.x(0), n.x(1)]);
    const common = isFloat(to) ? to : isFloat(exponent) ? exponent : 'f64';
    return n.cast(n.op('pow', [n.cast(n.x(0), common), n.cast(n.x(1), common)]), to);
};
//# sourceMappingURL=Pow.js.map