/** Pooling: windows, and the global forms whose window is the whole image. */
import type { ValueId } from '@bitloom/ir';
import { compose } from '@bitloom/ops';
import type { OnnxImporter, OnnxNode } from '../node.js';
import { ceilExtra, windowOf } from './windows.js';

const spatialOf = (n: OnnxNode): readonly number[] => (n.rank(0) < 3 ? n.mismatch(`rank ${n.rank(0)}`, 'at least 3') : n.shape(0).slice(2));
const kernelOf = (n: OnnxNode): number[] => n.attrs.ints('kernel_shape', null) ?? n.unsupported('kernel_shape is missing');

const average = (n: OnnxNode, x: ValueId, kernel: readonly number[]): ValueId => {
  const zero = kernel.map(() => 0);
  const one = kernel.map(() => 1);
  return n.op('avg_pool', [x], { kernel: [...kernel], strides: one, pads: [...zero, ...zero], dilations: one, ceilExtra: zero, countIncludePad: false });
};

/** (Σ |x|^p)^(1/p) from the mean of |x|^p over windows of `count` elements. */
const lpNorm = (n: OnnxNode, p: number, count: number, mean: (x: ValueId) => ValueId): ValueId => {
  const magnitude = n.op('abs', [n.x(0)]);
  const powered = p === 1 ? magnitude : n.op('pow', [magnitude, n.like(magnitude, p)]);
  const sum = compose.scale(n.b, mean(powered), count);
  return p === 1 ? sum : n.op('pow', [sum, n.like(sum, 1 / p)]);
};
const product = (d: readonly number[]): number => d.reduce((p, v) => p * v, 1);

export const pools: Readonly<Record<string, OnnxImporter>> = {
  AveragePool: (n) => {
    const w = windowOf(n, spatialOf(n), kernelOf(n));
    return n.op('avg_pool', [n.x(0)], { ...w, ceilExtra: ceilExtra(n, spatialOf(n), w), countIncludePad: n.attrs.bool('count_include_pad', false) });
  },
  /** The indices output is not supported. */
  MaxPool: (n) => {
    const w = windowOf(n, spatialOf(n), kernelOf(n));
    return n.op('max_pool', [n.x(0)], { ...w, ceilExtra: ceilExtra(n, spatialOf(n), w) });
  },
  LpPool: (n) => {
    const w = windowOf(n, spatialOf(n), kernelOf(n));
    const extra = ceilExtra(n, spatialOf(n), w);
    const rank = extra.length;
    // Padding adds zeros to the sum, so all of it is counted in the mean that stands for the sum.
    const pads = w.pads.map((p, i) => (i < rank ? p : p + extra[i - rank]));
    return lpNorm(n, n.attrs.int('p', 2), product(w.kernel), (x) => n.op('avg_pool', [x], {
      ...w, pads, ceilExtra: extra.map(() => 0), countIncludePad: true,
    }));
  },
  GlobalAveragePool: (n) => average(n, n.x(0), spatialOf(n)),
  GlobalMaxPool: (n) => n.op('reduce_max', [n.x(0)], { axes: spatialOf(n).map((_, i) => i + 2), keepdims: true }),
  GlobalLpPool: (n) => lpNorm(n, n.attrs.int('p', 2), product(spatialOf(n)), (x) => average(n, x, spatialOf(n))),
};
