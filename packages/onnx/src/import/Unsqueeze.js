export const Unsqueeze = (n) => {
    const given = n.intsFrom('axes', 1) ?? n.unsupported('axes are missing');
    const rank = n.rank(0) + given.length;
    const at = n.axes(given, rank);
    if (at.length !== given.length)
        n.mismatch(`axes [${given.join(', ')}]`, 'distinct axes');
    const rest = [...n.shape(0)];
    return n.reshape(n.x(0), Array.from({ length: rank }, (_, i) => (at.includes(i) ? 1 : rest.shift())));
};
//# sourceMappingURL=Unsqueeze.js.map