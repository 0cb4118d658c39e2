export const Mean = (n) => {
    const sum = n.all().reduce((a, b) => n.op('add', [a, b]));
    return n.op('div', [sum, n.like(sum, n.inputCount)]);
};
//# sourceMappingURL=Mean.js.map