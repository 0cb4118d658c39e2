export const Flatten = (n) => {
    const shape = n.shape(0);
    const given = n.attrs.int('axis', 1);
    const axis = given === shape.length ? given : n.axis(given, shape.length);
    const size = (from, to) => shape.slice(from, to).reduce((p, d) => p * d, 1);
    return n.reshape(n.x(0), [size(0, axis), size(axis, shape.length)]);
};
//# sourceMappingURL=Flatten.js.map