export const Transpose = (n) => n.transpose(n.x(0), n.attrs.ints('perm', null) ?? n.shape(0).map((_, i) => n.rank(0) - 1 - i));
//# sourceMappingURL=Transpose.js.map