import type { OnnxImporter } from '../node.js';

/** 0 keeps a dimension (unless `allowzero`), −1 takes what is left. */
export const Reshape: OnnxImporter = (n) => {
  const from = n.shape(0);
  const target = n.intsFrom('shape', 1) ?? [];
  const count = from.reduce((p, d) => p * d, 1);
  const keep = !n.attrs.bool('allowzero', false);
  const shape = target.map((d, i) => {
    if (d === 0 && keep) return from[i] ?? n.mismatch(`0 at axis ${i}`, `a shape for rank ${from.length}`);
    return d;
  });
  const open = shape.indexOf(-1);
  if (n.b.batch !== null && shape[0] === 1 && from[0] === n.b.batch && shape.length > 1) shape[0] = n.b.batch;
  if (open >= 0) {
    const rest = shape.reduce((p, d, i) => (i === open ? p : p * d), 1);
    shape[open] = rest === 0 ? 0 : count / rest;
  }
  if (shape.some((d) => d < 0 || !Number.isInteger(d)) || shape.reduce((p, d) => p * d, 1) !== count) {
    n.mismatch(`[${from.join(', ')}] to [${target.join(', ')}]`, 'equal element counts');
  }
  return n.reshape(n.x(0), shape);
};
