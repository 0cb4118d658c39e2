/** ONNX operators that are one core op on two operands with numpy broadcasting, and those folded from it. */
import type { OnnxImporter } from '../node.js';

const SAME: Readonly<Record<string, string>> = {
  Add: 'add', Sub: 'sub', Mul: 'mul', Div: 'div', And: 'and', Or: 'or', Xor: 'xor', BitwiseAnd: 'and', BitwiseOr: 'or', BitwiseXor: 'xor',
  Equal: 'equal', Less: 'less', LessOrEqual: 'less_equal',
};
/** Operands exchanged. */
const SWAPPED: Readonly<Record<string, string>> = { Greater: 'less', GreaterOrEqual: 'less_equal' };
/** Any number of operands, folded from the left. */
const VARIADIC: Readonly<Record<string, string>> = { Max: 'max', Min: 'min', Sum: 'add' };

const table = (ops: Readonly<Record<string, string>>, make: (op: string) => OnnxImporter): [string, OnnxImporter][] =>
  Object.entries(ops).map(([name, op]) => [name, make(op)]);

export const binary: Readonly<Record<string, OnnxImporter>> = Object.fromEntries([
  ...table(SAME, (op) => (n) => n.op(op, [n.x(0), n.x(1)])),
  ...table(SWAPPED, (op) => (n) => n.op(op, [n.x(1), n.x(0)])),
  ...table(VARIADIC, (op) => (n) => n.all().reduce((a, b) => n.op(op, [a, b]))),
]);
