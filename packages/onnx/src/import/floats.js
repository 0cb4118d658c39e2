import { isFloat } from '@bitloom/tensor';
/** An importer whose formula has no meaning on integers. */
export const floats = (f) => (n) => (isFloat(n.dtype(0)) ? f(n) : n.unsupported(`${n.dtype(0)} operands`));
//# sourceMappingURL=floats.js.map