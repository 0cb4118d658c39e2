import type { ValueId } from '@bitloom/ir';
import { compose } from '@bitloom/ops';
import type { OnnxImporter } from '../node.js';
import { toCodes } from './integer-codes.js';

/** scale = (max(x, 0) − min(x, 0))/255, zero point = round(clip(−min/scale)), y = saturate(round(x/scale) + zero point) */
export const DynamicQuantizeLinear: OnnxImporter = (n) => {
  const { b } = n;
  const x = n.x(0);
  const axes = n.shape(0).map((_, i) => i);
  const extreme = (reduce: string, pick: string): ValueId => {
    const v = axes.length === 0 ? x : n.op(reduce, [x], { axes, keepdims: false });
    return n.op(pick, [v, n.like(x, 0)]);
  };
  const low = extreme('reduce_min', 'min');
  const scale = compose.div(b, compose.sub(b, extreme('reduce_max', 'max'), low), n.like(x, 255));
  const zero = n.op('round', [n.op('clip', [compose.sub(b, n.like(x, 0), compose.div(b, low, scale))], { min: 0, max: 255 })]);
  return [toCodes(n, compose.div(b, x, scale), zero, 'u8'), scale, n.cast(zero, 'u8')];
};
