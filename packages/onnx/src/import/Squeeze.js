export const Squeeze = (n) => {
    const shape = n.shape(0);
    const given = n.intsFrom('axes', 1);
    const drop = given ? n.axes(given, shape.length) : shape.flatMap((d, i) => (d === 1 ? [i] : []));
    if (drop.some((a) => shape[a] !== 1))
        n.mismatch(`[${shape.join(', ')}]`, `1 at axes ${drop.join(', ')}`);
    return n.reshape(n.x(0), shape.filter((_, i) => !drop.includes(i)));
};
//# sourceMappingURL=Squeeze.js.map