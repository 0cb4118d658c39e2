import { ONNX_TYPES } from '../data-types.js';
import type { OnnxImporter } from '../node.js';
import { castTo } from './Cast.js';

export const CastLike: OnnxImporter = (n) => {
  const bits = n.b.narrow.get(n.x(1));
  const to = [...ONNX_TYPES.values()].find((t) => t.dtype === n.dtype(1) && !t.float && t.bits === (bits ?? t.bits) && (bits !== undefined || t.bits >= 8));
  return castTo(n, n.x(0), to!);
};
