import type { OnnxImporter } from '../node.js';

export const Mod: OnnxImporter = (n) => n.op('mod', [n.x(0), n.x(1)], { fmod: n.attrs.bool('fmod', false) });
