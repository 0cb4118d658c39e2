import type { OnnxImporter } from '../node.js';

export const BitShift: OnnxImporter = (n) => n.op('shift', [n.x(0), n.x(1)], { right: n.attrs.string('direction', '') === 'RIGHT' });
