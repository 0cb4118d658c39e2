const SAME = {
    Add: 'add', Sub: 'sub', Mul: 'mul', Div: 'div', And: 'and', Or: 'or', Xor: 'xor', BitwiseAnd: 'and', BitwiseOr: 'or', BitwiseXor: 'xor',
    Equal: 'equal', Less: 'less', LessOrEqual: 'less_equal',
};
/** Operands exchanged. */
const SWAPPED = { Greater: 'less', GreaterOrEqual: 'less_equal' };
/** Any number of operands, folded from the left. */
const VARIADIC = { Max: 'max', Min: 'min', Sum: 'add' };
const table = (ops, make) => Object.entries(ops).map(([name, op]) => [name, make(op)]);
export const binary = Object.fromEntries([
    ...table(SAME, (op) => (n) => n.op(op, [n.x(0), n.x(1)])),
    ...table(SWAPPED, (op) => (n) => n.op(op, [n.x(1), n.x(0)])),
    ...table(VARIADIC, (op) => (n) => n.all().reduce((a, b) => n.op(op, [a, b]))),
]);
//# sourceMappingURL=binary.js.map