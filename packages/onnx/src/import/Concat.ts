import type { OnnxImporter } from '../node.js';

export const Concat: OnnxImporter = (n) => (n.inputCount === 1 ? n.x(0) : n.op('concat', n.all(), { axis: n.axis(n.attrs.int('axis', 1), n.rank(0)) }));
