/** One or more instances of every op of this package's nests, with inputs away from kinks: for gradient, layout and storage tests. */
import { type DType, elementCount, Rng, type Tensor, tensorOf } from '@bitloom/tensor';

export interface Case {
  readonly op: string;
  readonly attrs: unknown;
  readonly inputs: readonly Tensor[];
}

export const title = (c: Case): string => `${c.op} ${JSON.stringify(c.attrs)}`;

const rng = new Rng(3);

/** Distinct values, evenly spaced over [lo, hi] in random order. */
export function spread(shape: readonly number[], lo = -2, hi = 2): Tensor {
  const n = elementCount(shape);
  const p = rng.permutation(n);
  return tensorOf('f32', shape, Float32Array.from(p, (i) => lo + ((hi - lo) * (i + 0.37)) / n));
}
/** Random integers in [lo, hi). */
export const integers = (dtype: DType, shape: readonly number[], lo: number, hi: number): Tensor =>
  tensorOf(dtype, shape, Array.from({ length: elementCount(shape) }, () => lo + rng.int(hi - lo)));
const index = (shape: readonly number[], values: readonly number[]): Tensor => tensorOf('i64', shape, values);

const unary = (op: string, lo = -2, hi = 2): Case => ({ op, attrs: {}, inputs: [spread([2, 3, 4, 2], lo, hi)] });
const binary = (op: string, a: Tensor, b: Tensor, attrs: unknown = {}): Case => ({ op, attrs, inputs: [a, b] });
const one = (op: string, attrs: unknown, shape: readonly number[] = [2, 3, 4, 3]): Case => ({ op, attrs, inputs: [spread(shape)] });

/** Ops whose derivative is not zero everywhere, on f32. */
export const smooth: readonly Case[] = [
  ...['neg', 'abs', 'relu', 'exp', 'sin', 'cos', 'sinh', 'cosh', 'tanh', 'asinh', 'atan', 'erf', 'sigmoid', 'identity', 'requantize'].map((op) => unary(op)),
  unary('log', 0.3, 3), unary('sqrt', 0.3, 3), unary('tan', -1, 1), unary('asin', -0.8, 0.8), unary('acos', -0.8, 0.8),
  unary('acosh', 1.3, 3), unary('atanh', -0.8, 0.8),
  one('clip', { min: -1, max: 1.2 }, [3, 5]), one('clip', { min: -Infinity, max: 0.6 }, [3, 5]), one('clip', { min: 0, max: Infinity }, [2, 2, 4]),
  one('cast', { to: 'f64' }),
  ...['add', 'sub', 'mul'].map((op) => binary(op, spread([2, 3, 4, 2]), spread([4, 1]))),
  // Both on grids of 0.25, half a step apart.
  ...['max', 'min'].map((op) => binary(op, spread([4, 4]), spread([4, 1], -0.375, 0.625))),
  binary('add', spread([3, 1]), spread([2, 1, 4])), binary('mul', spread([]), spread([2, 2])),
  binary('div', spread([3, 1, 5]), spread([4, 5], 0.7, 3)),
  binary('pow', spread([3, 4], 0.4, 2.5), spread([4], -2, 2)),
  binary('mod', spread([3, 4], -2, 2), spread([3, 1], 2.2, 3), { fmod: true }),
  binary('mod', spread([3, 4], 3.2, 3.8), spread([3, 1], 1.35, 1.5), { fmod: false }),
  { op: 'select', attrs: {}, inputs: [integers('bool', [2, 1, 4], 0, 2), spread([3, 1]), spread([2, 3, 4])] },
  ...['reduce_sum', 'reduce_max', 'reduce_min', 'reduce_prod'].flatMap((op) => [
    one(op, { axes: [1], keepdims: true }), one(op, { axes: [2, 3], keepdims: false }), one(op, { axes: [0, 2], keepdims: true }),
    one(op, { axes: [0, 1, 2], keepdims: false }, [2, 2, 2]), one(op, { axes: [0, 3], keepdims: false }),
  ]),
  one('softmax', { axis: 1 }), one('softmax', { axis: 3 }), one('log_softmax', { axis: 1 }), one('log_softmax', { axis: 3 }),
  ...[false, true].flatMap((exclusive) => [false, true].map((reverse) => one('cumsum', { axis: 1, exclusive, reverse }))),
  one('reshape', { shape: [4, 18] }), one('reshape', { shape: [3, 2, 3, 4] }), one('reshape', { shape: [1, 72, 1, 1] }),
  one('transpose', { perm: [0, 2, 3, 1] }), one('transpose', { perm: [3, 1, 0, 2] }),
  one('expand', { shape: [2, 3, 4, 3] }, [3, 1, 3]), one('expand', { shape: [3, 2] }, []),
  one('slice', { starts: [1, 0, 3, 2], steps: [1, 2, -1, -2], sizes: [1, 2, 3, 2] }),
  one('slice', { starts: [0, 1, 0, 0], steps: [1, 1, 3, 1], sizes: [2, 2, 2, 0] }),
  { op: 'concat', attrs: { axis: 1 }, inputs: [spread([2, 3, 2, 2]), spread([2, 1, 2, 2]), spread([2, 2, 2, 2])] },
  { op: 'concat', attrs: { axis: 0 }, inputs: [spread([2, 3]), spread([1, 3])] },
  one('pad', { pads: [0, 1, 0, 2, 1, 0, 3, 0], mode: 'constant', value: 0.5 }),
  ...['reflect', 'edge', 'wrap'].flatMap((mode) => [
    one('pad', { pads: [0, 2, 3, 1, 0, 1, 0, 2], mode, value: 0 }), one('pad', { pads: [7, 0, 3, 0], mode, value: 0 }, [3, 1]),
  ]),
  { op: 'gather', attrs: { axis: 1 }, inputs: [spread([2, 4, 3]), index([2, 2], [0, -1, 3, 2])] },
  { op: 'gather', attrs: { axis: 0 }, inputs: [spread([4, 3]), index([], [2])] },
  { op: 'gather_elements', attrs: { axis: 1 }, inputs: [spread([3, 4]), index([2, 5], [0, 1, 1, -1, 2, 3, 3, 3, 0, 1])] },
  { op: 'gather_nd', attrs: { batchDims: 0 }, inputs: [spread([3, 4, 2]), index([2, 2, 2], [0, 1, 2, 3, -1, -1, 0, 1])] },
  { op: 'gather_nd', attrs: { batchDims: 1 }, inputs: [spread([2, 3, 4]), index([2, 2, 1], [0, 2, -1, 1])] },
  ...(['none', 'add', 'mul', 'max', 'min'] as const).flatMap((reduction): Case[] => [
    {
      op: 'scatter_elements', attrs: { axis: 1, reduction },
      inputs: [spread([3, 4]), index([2, 3], [0, 3, reduction === 'none' ? 1 : 3, -1, 2, 0]), spread([2, 3], -1.9, 2.1)],
    },
    {
      op: 'scatter_nd', attrs: { reduction },
      inputs: [spread([4, 2, 2]), index([3, 1], [1, 3, reduction === 'none' ? 0 : 1]), spread([3, 2, 2], -1.9, 2.1)],
    },
  ]),
];

/** Ops without a derivative, or with integers. */
export const discrete: readonly Case[] = [
  unary('floor'), unary('ceil'), unary('round'), unary('sign'), unary('isnan'),
  one('isinf', { negative: true, positive: false }),
  { op: 'not', attrs: {}, inputs: [integers('bool', [2, 3, 2], 0, 2)] },
  { op: 'bitnot', attrs: {}, inputs: [integers('u8', [2, 3, 2], 0, 256)] },
  ...['and', 'or', 'xor'].map((op) => binary(op, integers('i16', [2, 3, 4], -300, 300), integers('i16', [3, 1], -300, 300))),
  ...['equal', 'less', 'less_equal'].map((op) => binary(op, integers('u64', [2, 3, 4], 0, 4), integers('u64', [4], 0, 4))),
  binary('shift', integers('u32', [2, 5], 0, 2 ** 31), integers('u32', [5], 0, 31), { right: true }),
  { op: 'cast', attrs: { to: 'i8' }, inputs: [spread([2, 3, 5], -300, 300)] },
  ...['reduce_sum', 'reduce_max', 'reduce_min', 'reduce_prod'].flatMap((op): Case[] => (['u8', 'i8', 'u64', 'i32'] as const).map((t) => ({
    op, attrs: { axes: [1], keepdims: false }, inputs: [integers(t, [2, 4, 3], t.startsWith('u') ? 0 : -100, 100)],
  }))),
  ...['arg_max', 'arg_min'].flatMap((op) => [true, false].map((last): Case => ({
    op, attrs: { axis: 1, keepdims: last, last }, inputs: [integers('f32', [2, 5, 3, 2], 0, 3)],
  }))),
];
