import { type ConvParams, NestBuilder } from '@bitloom/kernel-spec';
import type { Bits, QuantParams } from '@bitloom/numerics';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { CostTable, convFeatures, convKey, costModel, costTableText, fitCoefficients, fitKey, nestFeatures, nestKey, parseCostTable } from './index.js';

const params = (o: Partial<ConvParams> = {}): ConvParams => ({
  batch: 1, inH: 8, inW: 8, inC: 16, outH: 8, outW: 8, outC: 32, kH: 3, kW: 3, strideH: 1, strideW: 1, padT: 1, padL: 1, dilH: 1, dilW: 1, groups: 1,
  kind: 'int', weightBits: 4, activationBits: 8, xZero: 0, output: 'codes', lo: 0, hi: 255, ...o,
});
const quant = (scale: number, zeroPoint: number, bits: 4 | 8 = 8): QuantParams => ({
  scheme: { bits, signed: false, axis: null }, scale: Float32Array.of(scale), zeroPoint: Int32Array.of(zeroPoint),
});
const copy = (n: number, q: QuantParams, stride = 1): ReturnType<NestBuilder['build']> => {
  const b = new NestBuilder([{ dtype: 'u8', elements: n * stride }, { dtype: 'u8', elements: n }]);
  const view = (operand: number, s: number) => ({ operand, dtype: 'u8' as const, shape: [n], strides: [s], quant: q });
  b.elementwise(view(1, 1), [view(0, stride)], ([x]) => x);
  return b.build();
};
const code = (c: string): unknown => expect.objectContaining({ code: c });

describe('keys', () => {
  it('of convolutions: everything but zero point and bounds', () => {
    expect(convKey(params({ xZero: 3, lo: 1, hi: 7 }))).toBe(convKey(params()));
    const changes: Partial<ConvParams>[] = [
      ...(['batch', 'inH', 'inW', 'inC', 'outH', 'outW', 'outC', 'kH', 'kW', 'strideH', 'strideW', 'padT', 'padL', 'dilH', 'dilW', 'groups'] as const)
        .map((k) => ({ [k]: params()[k] + 1 })),
      { weightBits: 3 }, { activationBits: 3 }, { output: 'f32' }, { kind: 'f32' }, { hi: 3 },
    ];
    expect(new Set([{}, ...changes].map((c) => convKey(params(c)))).size).toBe(changes.length + 1);
  });

  it('of nests: extents and strides count, scales, zero points and bounds do not', () => {
    const key = nestKey(copy(10, quant(0.5, 3)));
    for (const q of [quant(0.25, 3), quant(0.5, 0), quant(1, 9, 4)]) expect(nestKey(copy(10, q))).toBe(key);
    expect(nestKey(copy(11, quant(0.5, 3)))).not.toBe(key);
    expect(nestKey(copy(10, quant(0.5, 3), 2))).not.toBe(key);
  });
});

describe('fits', () => {
  it('find the coefficients that times were made of', () => {
    const truth = [500, 2, 0.3, 0, 0.02, 0, 1.1, 0.3, 0.04, 0.5];
    const kernel = { name: 'int8', cost: (p: ConvParams) => 16 * Math.ceil(p.outC / 16) };
    const timed = [1, 4, 8, 16, 64].flatMap((inC) => [4, 8, 20].flatMap((side) => [8, 48, 64].map((outC) => {
      const features = convFeatures(kernel, params({ inC, outC, inH: side, inW: side, outH: side, outW: side, kH: side > 8 ? 1 : 3, kW: 3, hi: inC % 8 ? 3 : 255 }));
      return { features, ns: features.reduce((s, f, j) => s + f * truth[j], 0) };
    })));
    const c = fitCoefficients(timed);
    for (const t of timed) expect(c.reduce((s, v, j) => s + v * t.features[j], 0) / t.ns).toBeCloseTo(1, 1);
  });

  it('are never negative, and empty of nothing', () => {
    expect(fitCoefficients([])).toEqual([]);
    fc.assert(fc.property(fc.array(fc.record({ features: fc.tuple(fc.integer({ min: 1, max: 9 }), fc.nat(1000)), ns: fc.integer({ min: 1, max: 1e6 }) }), { minLength: 1, maxLength: 20 }), (timed) => {
      expect(fitCoefficients(timed).every((c) => c >= 0 && Number.isFinite(c))).toBe(true);
    }));
  });

  it('features of a nest count what runs', () => {
    const [call, loop, load, store, op, slow] = nestFeatures(copy(10, quant(0.5, 3)));
    expect([call, loop, load, store]).toEqual([1, 10, 10, 10]);
    expect(slow).toBe(10); // the division by the scale
    expect(op).toBeGreaterThan(0);
    const empty = new NestBuilder([]);
    empty.loops([3, 4], () => {});
    expect(nestFeatures(empty.build())).toEqual([1, 15, 0, 0, 0, 0]);
  });
});

describe('costs', () => {
  const variant = { name: 'int8', cost: () => 777 };
  const table = (f: (t: CostTable) => void): CostTable => {
    const t = new CostTable();
    f(t);
    return t;
  };
  const measured = table((t) => t.setConv('wasm', 'int8', convKey(params()), 123));
  const fitted = table((t) => t.setFit('wasm', 'int8', fitKey(params()), [1000, 0, 0, 0, 0, 0, 0, 0, 0, 0]));

  it('measured over fitted over the formula; the first table first', () => {
    const cost = (tables: CostTable[], p = params(), backend = 'wasm') => costModel(backend, tables).conv(variant, p);
    expect(cost([fitted, measured])).toEqual({ ns: 123, measured: true });
    expect(cost([table((t) => t.setConv('wasm', 'int8', convKey(params()), 5)), measured]).ns).toBe(5);
    expect(cost([measured, fitted], params({ outC: 33 }))).toEqual({ ns: 1000, measured: false });
    // Fewer bits take as long as the next more that were fitted; more bits may take longer.
    expect(cost([measured, fitted], params({ weightBits: 3, activationBits: 5 }))).toEqual({ ns: 1000, measured: false });
    expect(cost([measured, fitted], params({ weightBits: 5 }))).toEqual({ ns: 777, measured: false });
    expect(cost([measured, fitted], params(), 'c')).toEqual({ ns: 777, measured: false });
    // No longer than the fit to the most bits gives; what lies between does not count.
    const several = table((t) => ([[4, 900], [5, 100], [8, 400]] as const).forEach(([weightBits, ns]) => t.setFit('wasm', 'int8', fitKey(params({ weightBits })), [ns, 0, 0, 0, 0, 0, 0, 0, 0, 0])));
    expect([3, 4, 5, 6].map((weightBits) => cost([several], params({ weightBits: weightBits as Bits, outC: 33 })).ns)).toEqual([400, 400, 100, 400]);
  });

  it('of nests', () => {
    const n = copy(10, quant(0.5, 3));
    expect(costModel('c', [table((t) => t.setNest('c', nestKey(n), 9))]).nest(n)).toEqual({ ns: 9, measured: true });
    expect(costModel('c', [table((t) => t.setFit('c', 'nest', 'all', [0, 0, 2, 0, 0, 0]))]).nest(n)).toEqual({ ns: 20, measured: false });
    const { ns, measured: exact } = costModel('c', []).nest(n);
    expect(ns).toBeGreaterThan(0);
    expect(exact).toBe(false);
  });
});

describe('files', () => {
  const word = fc.stringMatching(/^[a-z0-9_ ]{1,12}$/);
  const ns = fc.double({ min: 1e-3, max: 1e12, noNaN: true });
  it('read back as they were written, whatever the order of insertion', () => {
    const times = fc.array(fc.tuple(word, word, word, ns), { maxLength: 20 });
    fc.assert(fc.property(times, times, fc.array(fc.tuple(word, word, fc.array(ns, { minLength: 10, maxLength: 10 })), { maxLength: 6 }), (convs, nests, fits) => {
      const make = (reverse: boolean): CostTable => {
        const t = new CostTable();
        t.machine.set('wasm', 'a "processor" [4]');
        const unique = <T extends readonly unknown[]>(all: readonly T[], n: number): T[] => [...new Map(all.map((e) => [e.slice(0, n).join('|'), e])).values()];
        const order = <T>(all: T[]): T[] => (reverse ? all.reverse() : all);
        for (const [b, v, k, x] of order(unique(convs, 3))) t.setConv(b, `v${v}`, k, x);
        for (const [b, , k, x] of order(unique(nests.map(([b, , k, x]) => [b, '', k, x] as const), 3))) t.setNest(b, k, x);
        for (const [b, v, c] of order(unique(fits, 2))) t.setFit(b, `v${v}`, 'f32 window', c);
        return t;
      };
      const text = costTableText(make(false));
      expect(costTableText(make(true))).toBe(text);
      expect(parseCostTable(text, 'f')).toEqual(parseCostTable(costTableText(make(true)), 'f'));
      expect(costTableText(parseCostTable(text, 'f'))).toBe(text);
    }));
  });

  it('hold one entry a line', () => {
    const t = new CostTable();
    t.setConv('wasm', 'int8', 'k1', 1.5);
    t.setFit('c', 'lut', 'w2a2 window', [1, 0, 0, 2.5e-7, 0, 0, 0, 0]);
    expect(costTableText(t).split('\n').map((l) => l.trim())).toEqual(expect.arrayContaining(['"k1": 1.5', '"w2a2 window": [1, 0, 0, 2.5e-7, 0, 0, 0, 0]']));
  });

  const whole = { version: 2, machine: {}, convs: {}, nests: {}, fits: {} };
  it.each<[string, unknown]>([
    ['no JSON', '{'], ['a list', []], ['null', null], ['another version', { ...whole, version: 1 }], ['an unknown key', { ...whole, x: 1 }],
    ['a negative time', { ...whole, convs: { a: { b: -1 } } }], ['a time of 0', { ...whole, nests: { a: { b: 0 } } }], ['a time as text', { ...whole, convs: { a: { b: '1' } } }],
    ['a huge time', { ...whole, convs: { a: { b: 1e300 } } }], ['a list of times', { ...whole, convs: { a: [1] } }], ['too few coefficients', { ...whole, fits: { a: { b: [1, 2] } } }],
    ['too many coefficients', { ...whole, fits: { 'wasm nest': { all: new Array(8).fill(1) } } }], ['a negative coefficient', { ...whole, fits: { a: { b: new Array(10).fill(-1) } } }],
  ])('refuse %s: E503', (_, json) => {
    const text = typeof json === 'string' ? json : JSON.stringify(json);
    expect(() => parseCostTable(text, 'costs.json')).toThrow(code('E503'));
    expect(() => parseCostTable(text, 'costs.json')).toThrow(expect.objectContaining({ diagnostic: expect.objectContaining({ node: expect.stringContaining('costs.json') }) }));
  });

  it('names of prototypes are names', () => {
    const t = parseCostTable('{"version":2,"machine":{},"convs":{"wasm int8":{"constructor":5,"toString":6}},"nests":{},"fits":{}}', 'f');
    expect(t.convs.get('wasm int8')?.get('constructor')).toBe(5);
    expect(({} as Record<string, unknown>).polluted).toBeUndefined();
    try {
      parseCostTable('{"version":2,"machine":{},"convs":{"__proto__":{"polluted":1}},"nests":{},"fits":{}}', 'f');
    } catch (e) {
      expect(e).toEqual(code('E503'));
    }
    expect(({} as Record<string, unknown>).polluted).toBeUndefined();
  });
});
