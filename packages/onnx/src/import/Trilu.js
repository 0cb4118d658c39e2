import { compose } from '@bitloom/ops';
/** Keeps column j of row i where j − i ≥ k (upper) or ≤ k (lower). */
export const Trilu = (n) => {
    const [rows, cols] = n.shape(0).slice(-2);
    const k = n.number(1, 'k', 0);
    const upper = n.attrs.bool('upper', true);
    const keep = n.generate('bool', [rows, cols], (at) => {
        const d = (at % cols) - Math.floor(at / cols);
        return upper ? d >= k : d <= k;
    });
    return compose.masked(n.b, keep, n.x(0));
};
//# sourceMappingURL=Trilu.js.map