import type { OnnxImporter } from '../node.js';

/** Attributes before opset 11, inputs after; `axes` from 18. Negative amounts crop, before anything is padded. */
export const Pad: OnnxImporter = (n) => {
  const shape = n.shape(0);
  const rank = shape.length;
  const given = n.opset < 11 ? n.attrs.ints('pads', []) : n.list(1, 'pads');
  const value = n.opset < 11 ? n.attrs.float('value', 0) : n.number(2, 'constant_value', 0);
  const axes = (n.ints(3, 'axes') ?? shape.map((_, i) => i)).map((a) => n.axis(a, rank));
  if (given.length !== 2 * axes.length) n.mismatch(`${given.length} pads`, `${2 * axes.length}`);
  const pads = new Array<number>(2 * rank).fill(0);
  axes.forEach((axis, i) => {
    pads[axis] = given[i];
    pads[rank + axis] = given[axes.length + i];
  });
  const crop = pads.map((p) => Math.max(0, -p));
  const sizes = shape.map((d, i) => d - crop[i] - crop[rank + i]);
  if (sizes.some((s) => s < 0)) n.mismatch(`pads [${given.join(', ')}]`, `at most [${shape.join(', ')}] cropped`);
  const starts = sizes.map((s, i) => (s === 0 ? 0 : crop[i]));
  const x = crop.some((c) => c > 0) ? n.op('slice', [n.x(0)], { starts, steps: shape.map(() => 1), sizes }) : n.x(0);
  const grow = pads.map((p) => Math.max(0, p));
  if (grow.every((p) => p === 0)) return x;
  return n.op('pad', [x], { pads: grow, mode: n.attrs.string('mode', 'constant'), value });
};
