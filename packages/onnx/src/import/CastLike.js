import { ONNX_TYPES, isNarrow } from '../data-types.js';
import { castTo } from './Cast.js';
export const CastLike = (n) => {
    const bits = n.b.narrow.get(n.x(1));
    const to = [...ONNX_TYPES.values()].find((t) => t.dtype === n.dtype(1) && (bits === undefined ? !t.float && !isNarrow(t) : t.bits === bits));
    return castTo(n, n.x(0), to);
};
//# sourceMappingURL=CastLike.js.map