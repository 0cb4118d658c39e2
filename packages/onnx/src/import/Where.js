export const Where = (n) => n.op('select', n.all());
//# sourceMappingURL=Where.js.map