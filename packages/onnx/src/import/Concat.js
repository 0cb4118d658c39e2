export const Concat = (n) => (n.inputCount === 1 ? n.x(0) : n.op('concat', n.all(), { axis: n.axis(n.attrs.int('axis', 1), n.rank(0)) }));
//# sourceMappingURL=Concat.js.map