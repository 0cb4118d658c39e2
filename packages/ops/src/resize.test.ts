import { describe, expect, it } from 'vitest';
import { getAt, tensorOf, toNumbers } from '@bitloom/tensor';
import { checkGradient } from './gradients.test.util.js';
import { activationParams, coded, codesOf, distance, evaluateOp, integers, normal, rounded, runLowered } from './lowered.test.util.js';
import { getOp } from './registry.js';
import type { ResizeAttrs } from './resize.js';

const base: ResizeAttrs = {
  sizes: [], scales: [], mode: 'linear', coordinates: 'half_pixel', nearest: 'round_prefer_floor', cubicA: -0.75,
  excludeOutside: false, antialias: false, roi: null, extrapolation: 0,
};
const ramp = (...shape: number[]) => tensorOf('f32', shape, Array.from({ length: shape.reduce((p, d) => p * d) }, (_, i) => i + 1));
const square = ramp(1, 1, 4, 4);
/** Scale as the standard's tests give it, in f32. */
const s = Math.fround;

describe('resize gives the values of the ONNX standard', () => {
  it.each<[string, ReturnType<typeof ramp>, Partial<ResizeAttrs>, readonly number[]]>([
    ['linear', ramp(1, 1, 2, 4), { sizes: [1, 1, 1, 2], scales: [1, 1, s(0.6), s(0.6)] }, [2.6666665, 4.3333331]],
    ['linear, aligned corners', ramp(1, 1, 2, 4), { sizes: [1, 1, 1, 2], scales: [1, 1, s(0.6), s(0.6)], coordinates: 'align_corners' }, [1, 3.142857]],
    ['linear, antialias', square, { sizes: [1, 1, 2, 2], scales: [1, 1, s(0.6), s(0.6)], antialias: true }, [2.875, 4.5, 9.375, 11]],
    ['linear, symmetric', ramp(1, 1, 1, 4), { sizes: [1, 1, 1, 2], scales: [1, 1, 1, s(0.6)], coordinates: 'half_pixel_symmetric' }, [1.6666667, 3.3333333]],
    ['linear, PyTorch', square, { sizes: [1, 1, 3, 1], scales: [1, 1, 0.75, 0.25], coordinates: 'pytorch_half_pixel' }, [1.6666666, 7, 12.333333]],
    ['linear upwards', ramp(1, 1, 2, 2), { sizes: [1, 1, 4, 4], scales: [1, 1, 2, 2] }, [1, 1.25, 1.75, 2, 1.5, 1.75, 2.25, 2.5, 2.5, 2.75, 3.25, 3.5, 3, 3.25, 3.75, 4]],
    ['cubic', square, { sizes: [1, 1, 3, 3], scales: [1, 1, s(0.8), s(0.8)], mode: 'cubic' }, [1.47119141, 2.78125, 4.08251953, 6.71142578, 8.02148438, 9.32275391, 11.91650391, 13.2265625, 14.52783203]],
    ['cubic, antialias', square, { sizes: [1, 1, 2, 2], scales: [1, 1, s(0.6), s(0.6)], mode: 'cubic', antialias: true }, [2.5180721, 4.2858863, 9.589329, 11.357142]],
    ['cubic without outside', square, { sizes: [1, 1, 3, 3], scales: [1, 1, s(0.8), s(0.8)], mode: 'cubic', cubicA: -0.5, excludeOutside: true }, [1.36812675, 2.6695014, 4.0133367, 6.57362535, 7.875, 9.2188353, 11.94896657, 13.25034122, 14.59417652]],
    ['cubic, asymmetric', square, { sizes: [1, 1, 1, 8], scales: [1, 1, 0.25, 2], mode: 'cubic', coordinates: 'asymmetric' }, [1, 1.40625, 2, 2.5, 3, 3.59375, 4, 4.09375]],
    ['nearest', ramp(1, 1, 2, 4), { sizes: [1, 1, 1, 3], scales: [1, 1, 0.5, 0.75], mode: 'nearest' }, [1, 2, 4]],
    ['nearest, ceiling', ramp(1, 4), { sizes: [1, 8], scales: [1, 2], mode: 'nearest', nearest: 'ceil' }, [1, 2, 2, 3, 3, 4, 4, 4]],
    ['nearest, ceiling at input positions', ramp(1, 4), { sizes: [1, 2], scales: [1, 0.5], mode: 'nearest', nearest: 'ceil', coordinates: 'asymmetric' }, [1, 3]],
    ['nearest, floor, aligned corners', ramp(1, 4), { sizes: [1, 8], scales: [1, 2], mode: 'nearest', nearest: 'floor', coordinates: 'align_corners' }, [1, 1, 1, 2, 2, 3, 3, 4]],
    ['nearest, ties up, asymmetric', ramp(1, 4), { sizes: [1, 8], scales: [1, 2], mode: 'nearest', nearest: 'round_prefer_ceil', coordinates: 'asymmetric' }, [1, 2, 2, 3, 3, 4, 4, 4]],
    ['crop', square, { sizes: [1, 1, 3, 3], scales: [1, 1, 0.75, 0.75], coordinates: 'tf_crop_and_resize', roi: [0, 0, s(0.4), s(0.6), 1, 1, s(0.6), s(0.8)] }, [7.6000004, 7.9, 8.2, 8.8, 9.1, 9.400001, 10, 10.3, 10.6]],
    ['crop beyond the input', square, { sizes: [1, 1, 3, 3], scales: [1, 1, 0.75, 0.75], coordinates: 'tf_crop_and_resize', roi: [0, 0, s(0.4), s(0.6), 1, 1, s(1.2), s(1.7)], extrapolation: 10 }, [7.6000004, 10, 10, 12.400001, 10, 10, 10, 10, 10]],
  ])('%s', (_, x, attrs, expected) => {
    const [y] = evaluateOp('resize', [x], { ...base, ...attrs });
    expect(distance(y, tensorOf('f32', y.shape, expected))).toBeLessThan(4e-6);
  });
});

const shape = [2, 3, 5, 4];
const variants: readonly [string, Partial<ResizeAttrs>][] = [
  ['nearest', { mode: 'nearest', sizes: [2, 3, 8, 7], scales: [1, 1, 1.6, 1.75] }],
  ['linear up and down', { sizes: [2, 3, 3, 9], scales: [1, 1, 0.6, 2.25] }],
  ['linear over batch and channels', { sizes: [3, 5, 5, 4], scales: [1.5, 5 / 3, 1, 1] }],
  ['cubic', { mode: 'cubic', sizes: [2, 3, 8, 6], scales: [1, 1, 1.6, 1.5], cubicA: -0.6 }],
  ['antialias with many taps', { mode: 'cubic', sizes: [2, 3, 2, 1], scales: [1, 1, 0.4, 0.25], antialias: true }],
  ['crop', { sizes: [2, 3, 4, 3], scales: [1, 1, 0.8, 0.75], coordinates: 'tf_crop_and_resize', roi: [0, 0, 0.1, -0.1, 1, 1, 1.3, 0.9], extrapolation: 2.5 }],
];

describe.each(variants)('resize, %s', (_, over) => {
  const attrs = { ...base, ...over };
  const x = normal(shape, 1);
  const [y] = evaluateOp('resize', [x], attrs);

  it('lowers to the same values in both layouts and on codes', () => {
    const [q, p] = [activationParams(8, 0.03, 110), activationParams(6, 0.2, 30)];
    const [z] = evaluateOp('resize', [rounded(x, q)], attrs);
    for (const channelsLast of [true, false]) {
      expect(runLowered('resize', [{ tensor: x }], attrs, [], channelsLast)[0]).toEqual(y);
      for (const out of [q, p]) {
        const [codes] = runLowered('resize', [{ tensor: x, quant: q }], attrs, [out], channelsLast);
        expect(toNumbers(codes)).toEqual(toNumbers(codesOf(z, out)));
      }
    }
  });

  it('gives the same in double precision', () => {
    const [z] = evaluateOp('resize', [tensorOf('f64', shape, x.data)], attrs);
    expect(z.dtype).toBe('f64');
    expect(distance(z, y)).toBeLessThan(1e-5);
  });

  it('has gradients of first and second order', () => {
    checkGradient((b, [v]) => [b.add('resize', [v], attrs)], [x], { step: 1 / 8 });
  });
});

describe('resize', () => {
  it('repeats integers and booleans, truncates interpolated integers', () => {
    const attrs = { ...base, sizes: [6], scales: [2], mode: 'nearest' } as const;
    for (const dtype of ['i8', 'i64', 'bool'] as const) {
      expect(toNumbers(evaluateOp('resize', [tensorOf(dtype, [3], [1, 0, 1])], attrs)[0])).toEqual([1, 1, 0, 0, 1, 1]);
    }
    expect(toNumbers(evaluateOp('resize', [tensorOf('i32', [2], [-4, 9])], { ...base, sizes: [4], scales: [2] })[0])).toEqual([-4, 0, 5, 9]);
  });

  it('interpolates exactly at input positions', () => {
    const x = integers([1, 2, 3, 3], 5);
    const attrs = { ...base, mode: 'cubic', cubicA: -0.6, coordinates: 'align_corners', sizes: [1, 2, 5, 3], scales: [1, 1, 5 / 3, 1] };
    const [y] = evaluateOp('resize', [x], attrs);
    for (let c = 0; c < 2; c++) for (let h = 0; h < 3; h++) for (let w = 0; w < 3; w++) {
      expect(getAt(y, (c * 5 + 2 * h) * 3 + w)).toBe(getAt(x, (c * 3 + h) * 3 + w));
    }
  });

  it('refuses attributes that do not fit', () => {
    const infer = (over: Partial<ResizeAttrs>, dtype: 'f32' | 'bool' = 'f32'): unknown =>
      getOp('resize').infer([{ dtype, shape: [2, 4] }], { ...base, sizes: [2, 8], scales: [1, 2], ...over }, 'node');
    const refused = coded('E204');
    expect(() => infer({ sizes: [8] })).toThrowError(refused);
    expect(() => infer({ scales: [2] })).toThrowError(refused);
    expect(() => infer({ roi: [0, 1] })).toThrowError(refused);
    expect(() => infer({ scales: [1, 1e-300], antialias: true })).toThrowError(refused);
    expect(() => infer({}, 'bool')).toThrowError(refused);
    expect(infer({ mode: 'nearest' }, 'bool')).toEqual([{ dtype: 'bool', shape: [2, 8] }]);
  });
});
