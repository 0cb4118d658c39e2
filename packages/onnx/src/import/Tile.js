import { compose } from '@bitloom/ops';
/** Each repeated axis d becomes [1, d], is expanded to [r, d] and merged. */
export const Tile = (n) => {
    const shape = n.shape(0);
    const repeats = n.list(1, 'repeats');
    if (repeats.length !== shape.length || repeats.some((r) => r < 0))
        n.mismatch(`repeats [${repeats.join(', ')}]`, `${shape.length} counts`);
    const wide = n.reshape(n.x(0), shape.flatMap((d, i) => (repeats[i] === 1 ? [d] : [1, d])));
    const tiled = compose.broadcastTo(n.b, wide, shape.flatMap((d, i) => (repeats[i] === 1 ? [d] : [repeats[i], d])));
    return n.reshape(tiled, shape.map((d, i) => d * repeats[i]));
};
//# sourceMappingURL=Tile.js.map