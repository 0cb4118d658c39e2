import type { OnnxImporter } from '../node.js';

export const IsInf: OnnxImporter = (n) =>
  n.op('isinf', [n.x(0)], { negative: n.attrs.bool('detect_negative', true), positive: n.attrs.bool('detect_positive', true) });
