import type { OnnxImporter } from '../node.js';

/** Coordinates of the elements of a constant that are not zero, one row per axis. */
export const NonZero: OnnxImporter = (n) => {
  const values = n.list(0, 'the operand');
  const strides = n.shape(0).map((_, i) => n.shape(0).slice(i + 1).reduce((p, d) => p * d, 1));
  const at = values.flatMap((v, i) => (v !== 0 ? [i] : []));
  return n.const('i64', [strides.length, at.length], strides.flatMap((s, axis) => at.map((i) => Math.floor(i / s) % n.shape(0)[axis])));
};
