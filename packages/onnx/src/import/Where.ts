import type { OnnxImporter } from '../node.js';

export const Where: OnnxImporter = (n) => n.op('select', n.all());
