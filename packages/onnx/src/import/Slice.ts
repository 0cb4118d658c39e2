import type { OnnxImporter } from '../node.js';

/** Starts, ends, axes and steps are attributes before opset 10, inputs after; out-of-range values clamp as in Python. */
export const Slice: OnnxImporter = (n) => {
  const shape = n.shape(0);
  const read = (name: string, i: number): number[] | null => (n.opset < 10 ? n.attrs.ints(name, null) : n.ints(i, name));
  const starts = read('starts', 1) ?? [];
  const ends = read('ends', 2) ?? [];
  const axes = (read('axes', 3) ?? starts.map((_, i) => i)).map((a) => n.axis(a, shape.length));
  const steps = (n.opset < 10 ? null : n.ints(4, 'steps')) ?? starts.map(() => 1);
  if ([ends, axes, steps].some((list) => list.length !== starts.length) || steps.includes(0)) {
    n.mismatch('starts, ends, axes or steps of different lengths, or a zero step', 'one of each per axis');
  }
  const out = { starts: shape.map(() => 0), steps: shape.map(() => 1), sizes: [...shape] };
  axes.forEach((axis, i) => {
    const d = shape[axis];
    const step = Math.max(-(2 ** 31), Math.min(2 ** 31, steps[i]));
    const bound = (v: number): number => {
      const at = v < 0 ? v + d : v;
      return step > 0 ? Math.max(0, Math.min(at, d)) : Math.max(-1, Math.min(at, d - 1));
    };
    const [start, end] = [bound(starts[i]), bound(ends[i])];
    const size = Math.max(0, Math.ceil((end - start) / step));
    out.sizes[axis] = size;
    out.starts[axis] = size === 0 ? 0 : start;
    out.steps[axis] = size <= 1 ? 1 : step;
  });
  if (out.sizes.every((s, i) => s === shape[i] && out.steps[i] === 1)) return n.x(0);
  return n.op('slice', [n.x(0)], out);
};
