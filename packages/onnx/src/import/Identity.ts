import type { OnnxImporter } from '../node.js';

export const Identity: OnnxImporter = (n) => n.x(0);
