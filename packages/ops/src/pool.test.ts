import { describe, expect, it } from 'vitest';
import { type Tensor, elementCount, getAt, rowMajorStrides, tensorOf, toNumbers } from '@bitloom/tensor';
import { evaluateGraph } from './evaluate.js';
import { checkGradient } from './gradients.test.util.js';
import { activationParams, coded, codesOf, evaluateOp, indices, integers, normal, rounded, runLowered } from './lowered.test.util.js';
import type { PoolAttrs } from './pool.js';
import { createBuilder, getOp } from './registry.js';

const plain = { kernel: [2, 2], strides: [2, 2], pads: [0, 0, 0, 0], dilations: [1, 1], ceilExtra: [0, 0] };
const cases: readonly { name: string; x: readonly number[]; attrs: PoolAttrs }[] = [
  { name: '2×2', x: [2, 3, 4, 6], attrs: plain },
  { name: '3×3, stride 2, padded', x: [1, 4, 7, 6], attrs: { ...plain, kernel: [3, 3], pads: [1, 1, 1, 1] } },
  { name: 'overlapping, uneven pads', x: [1, 2, 5, 5], attrs: { ...plain, kernel: [3, 2], strides: [1, 1], pads: [2, 0, 1, 1] } },
  { name: 'dilated', x: [1, 2, 8, 7], attrs: { ...plain, kernel: [3, 2], strides: [2, 1], dilations: [2, 3], pads: [1, 2, 2, 1] } },
  { name: 'rounded up', x: [2, 2, 5, 6], attrs: { ...plain, kernel: [2, 3], pads: [0, 1, 0, 1], ceilExtra: [1, 1] } },
  { name: 'last window starts in the padding', x: [1, 2, 4, 4], attrs: { ...plain, kernel: [1, 1], strides: [2, 2], pads: [0, 0, 1, 1] } },
  { name: 'rows unread', x: [1, 2, 8, 8], attrs: { ...plain, strides: [3, 3] } },
  { name: '1-D', x: [2, 3, 9], attrs: { kernel: [4], strides: [3], pads: [1, 1], dilations: [1], ceilExtra: [2] } },
  { name: '3-D', x: [1, 2, 3, 4, 3], attrs: { kernel: [2, 2, 2], strides: [1, 2, 1], pads: [0, 0, 1, 1, 0, 0], dilations: [1, 1, 1], ceilExtra: [0, 0, 0] } },
];
/** All windows hold some value: only then is every result finite. */
const finite = cases.filter((c) => c.name !== 'last window starts in the padding');


/** Values under each window, and how many of its taps lie in the input or its pads (but not in the extra end). */
function windows(x: Tensor, a: PoolAttrs, out: readonly number[]): { values: number[]; padded: number }[] {
  const strides = rowMajorStrides(x.shape);
  const n = a.kernel.length;
  return indices(out).map(([image, c, ...p]) => {
    const taps = indices(a.kernel).map((k) => k.map((v, d) => p[d] * a.strides[d] + v * a.dilations[d] - a.pads[d]));
    const found = taps.filter((at) => at.every((v, d) => v >= 0 && v < x.shape[d + 2]));
    const values = found.map((at) => getAt(x, [image, c, ...at].reduce((s, v, d) => s + v * strides[d], 0)));
    return { values, padded: taps.filter((at) => at.every((v, d) => v < x.shape[d + 2] + a.pads[n + d])).length };
  });
}

describe.each(cases)('pools, $name', ({ x: shape, attrs }) => {
  it('max_pool takes the largest value under the window', () => {
    const x = integers(shape, 1);
    const [y] = evaluateOp('max_pool', [x], attrs);
    const expected = windows(x, attrs, y.shape).map(({ values }) => Math.max(...values));
    expect(toNumbers(y)).toEqual(expected);
    expect(toNumbers(runLowered('max_pool', [{ tensor: x }], attrs)[0])).toEqual(expected);
  });

  it.each([false, true])('avg_pool divides by the taps inside (pads counted: %s)', (countIncludePad) => {
    const x = integers(shape, 2);
    const a = { ...attrs, countIncludePad };
    const [y] = evaluateOp('avg_pool', [x], a);
    const expected = windows(x, attrs, y.shape).map(({ values, padded }) =>
      Math.fround(values.reduce((s, v) => s + v, 0) / (countIncludePad ? padded : values.length)));
    expect(toNumbers(y)).toEqual(expected);
    expect(toNumbers(runLowered('avg_pool', [{ tensor: x }], a)[0])).toEqual(expected);
  });
});

describe.each(finite)('pools, $name', ({ x: shape, attrs }) => {
  const x = normal(shape, 3);

  it('max_pool compares numbers of every type', () => {
    const small = integers(shape, 1);
    const [y] = evaluateOp('max_pool', [small], attrs);
    for (const dtype of ['i8', 'u8', 'i64', 'f64'] as const) {
      const shift = dtype === 'u8' ? 7 : 0;
      const t = tensorOf(dtype, shape, toNumbers(small).map((v) => v + shift));
      expect(toNumbers(evaluateOp('max_pool', [t], attrs)[0])).toEqual(toNumbers(y).map((v) => v + shift));
    }
  });

  it('lower to the same values on codes', () => {
    const [q, p] = [activationParams(8, 0.03, 100), activationParams(4, 0.4, 5)];
    for (const [name, a] of [['max_pool', attrs], ['avg_pool', { ...attrs, countIncludePad: false }]] as const) {
      const [y] = evaluateOp(name, [rounded(x, q)], a);
      for (const channelsLast of [true, false]) {
        const run = (out: typeof q | null): Tensor => runLowered(name, [{ tensor: x, quant: q }], a, [out], channelsLast)[0];
        for (const out of [q, p]) expect(toNumbers(run(out))).toEqual(toNumbers(codesOf(y, out)));
        expect(run(null)).toEqual(y);
      }
    }
  });

  it('have gradients of first and second order', () => {
    // Values 1/4 apart, so that a small step changes no maximum.
    const sorted = toNumbers(x).sort((p, q) => p - q);
    const apart = tensorOf('f32', shape, toNumbers(x).map((v) => sorted.indexOf(v) / 4));
    checkGradient((b, [x]) => [b.add('max_pool', [x], attrs)], [apart], { step: 1 / 32 });
    for (const countIncludePad of [false, true]) {
      checkGradient((b, [x]) => [b.add('avg_pool', [x], { ...attrs, countIncludePad })], [x], { step: 1 / 8 });
    }
  });
});

it('ceilExtra adds windows that start inside the input or its padding', () => {
  const attrs = { ...plain, kernel: [2, 3], pads: [0, 1, 0, 1], ceilExtra: [1, 1] };
  expect(getOp('max_pool').infer([{ dtype: 'f32', shape: [1, 1, 5, 6] }], attrs, 'node')).toEqual([{ dtype: 'f32', shape: [1, 1, 3, 4] }]);
});

describe('max_pool', () => {
  it('on codes of one scale compares the codes', () => {
    const q = activationParams(8, 0.1, 3);
    const y = runLowered('max_pool', [{ tensor: tensorOf('f32', [1, 1, 2, 2], [-9, -0.2, 0.1, 0.3]), quant: q }], plain, [q]);
    expect(toNumbers(y[0])).toEqual([6]);
  });

  it('prefers numbers to NaN', () => {
    expect(toNumbers(evaluateOp('max_pool', [tensorOf('f32', [1, 1, 2, 2], [NaN, 1, NaN, 2])], plain)[0])).toEqual([2]);
  });

  it('sends the gradient of a tie to the first of the equal values', () => {
    const b = createBuilder('g');
    const x = b.input('x', { dtype: 'f32', shape: [1, 1, 2, 4] });
    const y = b.add('max_pool', [x], plain);
    const dy = b.const(tensorOf('f32', [1, 1, 1, 2], [10, 20]));
    const [dx] = getOp('max_pool').gradient!(b, { inputs: [x], outputs: [y], attrs: plain, cotangents: [dy] });
    const values = evaluateGraph(b.build([dx!]), new Map([['x', tensorOf('f32', [1, 1, 2, 4], [1, 3, 7, 7, 3, 3, 7, 0])]]));
    expect(toNumbers(values.get(dx!)!)).toEqual([0, 10, 20, 0, 0, 0, 0, 0]);
  });

  it('refuses operands that do not fit', () => {
    const infer = (shape: readonly number[], a: PoolAttrs): unknown => getOp('max_pool').infer([{ dtype: 'f32', shape }], a, 'node');
    const refused = coded('E204');
    expect(() => infer([1, 2, 1, 4], plain)).toThrowError(refused);
    expect(() => infer([1, 2, 4], plain)).toThrowError(refused);
    expect(() => infer([2, 4], plain)).toThrowError(refused);
    expect(() => infer([1, 2, 4, 4], { ...plain, ceilExtra: [0] })).toThrowError(refused);
    const integer = { dtype: 'i32', shape: [1, 2, 4, 4] } as const;
    expect(() => getOp('avg_pool').infer([integer], { ...plain, countIncludePad: false }, 'node')).toThrowError(refused);
    expect(elementCount((infer([1, 2, 4, 4], plain) as { shape: number[] }[])[0].shape)).toBe(8);
  });
});
