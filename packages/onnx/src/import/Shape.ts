import { compose } from '@bitloom/ops';
import { elementCount } from '@bitloom/tensor';
import type { OnnxImporter } from '../node.js';

/** The shape, from `start` to `end`, which clamp as in Python. */
export const Shape: OnnxImporter = (n) => {
  const shape = n.shape(0);
  const bound = (v: number): number => Math.max(0, Math.min(v < 0 ? v + shape.length : v, shape.length));
  return compose.indexConst(n.b, shape.slice(bound(n.attrs.int('start', 0)), bound(n.attrs.int('end', shape.length))));
};

/** Number of elements. */
export const Size: OnnxImporter = (n) => n.const('i64', [], [elementCount(n.shape(0), n.name)]);
