import { describe, expect, it } from 'vitest';
import { type KernelName, makePlan } from '@bitloom/codegen';
import { type ConvGeometry, convK, isBounded } from '@bitloom/kernel-spec';
import { type Bits, isBits } from '@bitloom/numerics';
import { Rng, type Tensor } from '@bitloom/tensor';
import { WASM_VARIANTS, emitWasm, runWasm, variantsFor } from './index.js';
import { enableRelaxed } from './relaxed.test.util.js';
import { type ConvCase, convProgram, floatCase, integerCase, randomGeometry, withOutput } from './conv.test.fixtures.js';

const BITS: readonly Bits[] = [1, 2, 3, 4, 5, 6, 7, 8].filter(isBits);
const TARGETS = ['wasm', 'wasm-relaxed', 'wasm-scalar'] as const;
const PLAIN = { groups: 1, strideH: 1, strideW: 1, padT: 0, padL: 0, dilH: 1, dilW: 1 } as const;

const relaxed = await enableRelaxed();
/** Kernels that this engine can run. */
const VARIANTS = WASM_VARIANTS.filter((v) => v.isa !== 'relaxed' || relaxed);
const TARGET = { scalar: 'wasm-scalar', simd128: 'wasm', relaxed: 'wasm-relaxed' } as const;
const variantNames = (...kernels: KernelName[]): string[] => VARIANTS.filter((v) => kernels.includes(v.kernel)).map((v) => v.name);

/** Compiles the cases that one variant accepts into one module and compares every output with the reference, bit for bit. */
async function check(all: readonly ConvCase[], variant: string): Promise<void> {
  const { isa, accepts } = VARIANTS.find((v) => v.name === variant)!;
  const target = TARGET[isa];
  const cases = all.filter((c) => accepts(c.params));
  expect(cases.length).toBeGreaterThan(0);
  const { program, inputs, expected } = convProgram(cases);
  const plan = makePlan(program, { target, variants: variantsFor(target), filter: (v) => v.name === variant });
  const got = await runWasm(await emitWasm(plan), plan, inputs);
  expected.forEach((y, i) => {
    const data = (got.get(`y${i}`) as Tensor).data;
    const at = y.findIndex((v: number | bigint, j: number) => !Object.is(v, data[j]));
    if (at >= 0) expect.fail(`${variant} ${JSON.stringify(cases[i].params)}: element ${at} is ${data[at]}, not ${y[at]}`);
  });
}

/** `n` cases for each of the 64 bit pairs. */
function integerCases(seed: number, n: number, depthwise: boolean): ConvCase[] {
  const rng = new Rng(seed);
  return BITS.flatMap((w) => BITS.flatMap((a) => Array.from({ length: n }, () => integerCase(rng, randomGeometry(rng, depthwise), w, a))));
}

describe.each(variantNames('int8', 'bitserial', 'lut', 'dual', 'dot8'))('%s', (variant) => {
  it('equals the reference for all bit pairs', () => check(integerCases(1, 6, false), variant));

  it('equals the reference where accumulators are largest and byte counters fill up', async () => {
    const rng = new Rng(2);
    // Nine windows, or one.
    const geometries = [0, 1].map((pad) => withOutput({ ...PLAIN, batch: 1, inH: 3, inW: 3, inC: 600, outC: 9, kH: 3, kW: 3, padT: pad, padL: pad }, pad));
    const cases = geometries.flatMap((g) => ([[1, 1], [2, 3], [6, 1], [6, 2], [8, 8]] as const).flatMap(([w, a]) => [
      integerCase(rng, g, w, a),
      { ...integerCase(rng, g, w, a), x: new Uint8Array(9 * 600).fill(2 ** a - 1), w: new Int8Array(9 * 5400).fill(w === 1 ? 1 : -(2 ** (w - 1))) },
    ]));
    await check(cases, variant);
  });

  it('equals the reference on rows wider than a block, on blocks of several rows, and on several images', async () => {
    const rng = new Rng(9);
    const wide = { ...PLAIN, batch: 2, inH: 2, inC: 64, outC: 3, kH: 2, kW: 3, padT: 1, padL: 2 };
    const all = [
      { ...wide, inW: 530 }, { ...wide, inW: 300, strideW: 2, dilW: 2 }, { ...wide, inH: 40, inW: 5, strideH: 2 }, { ...wide, inH: 40, inW: 9, dilH: 3 },
    ];
    const images = withOutput({ ...wide, inW: 3, padT: 0, padL: 0 }, 0);
    await check([...all.map((g) => withOutput(g, 1)), images].flatMap((g) => [integerCase(rng, g, 1, 1), integerCase(rng, g, 2, 3), integerCase(rng, g, 3, 2)]), variant);
  });

  it('equals the reference on few pixels with many channels', async () => {
    const rng = new Rng(3);
    const g = withOutput({ ...PLAIN, batch: 3, inH: 1, inW: 1, inC: 50, outC: 77, kH: 1, kW: 1 }, 0);
    await check([integerCase(rng, g, 4, 8), integerCase(rng, g, 8, 8), integerCase(rng, { ...g, batch: 9 }, 3, 5), integerCase(rng, g, 1, 2), integerCase(rng, g, 4, 2)], variant);
  });
});

describe.each(VARIANTS.filter((v) => v.isa !== 'scalar' && v.kernel !== 'f32').map((v) => v.name))('%s: results of few codes', (variant) => {
  it('equal the reference at ties, at steep, flat and no slopes, and where sums just fit 16 bits, or do not', async () => {
    const rng = new Rng(20);
    const { accepts } = VARIANTS.find((v) => v.name === variant)!;
    const depthwise = variant.startsWith('depthwise');
    const multipliers = [0.5, 0.25, 1, 0, 1e-30, Infinity, 2 ** -12, 0.1];
    const shapes = depthwise
      ? [[3, 3], [7, 7], [8, 8]].map(([kH, kW]) => withOutput({ ...PLAIN, batch: 1, inH: 9, inW: 11, inC: 19, outC: 19, groups: 19, kH, kW, padT: 1, padL: 2 }, 1))
      : [[20, 3], [1364, 1], [1365, 1], [3640, 1], [3641, 1], [8191, 1], [8192, 1]].map(([inC, kH]) => withOutput({ ...PLAIN, batch: 1, inH: 4, inW: 3, inC, outC: 19, kH, kW: kH }, 0));
    const cases = shapes.flatMap((g) => ([[1, 1], [2, 1], [1, 2], [2, 2], [3, 4], [4, 4], [5, 8], [8, 2], [8, 4]] as const).flatMap(([w, a]) => [0, 1, 2, 3].flatMap((codes): ConvCase[] => {
      const c = integerCase(rng, g, w, a);
      if (!accepts(c.params)) return [];
      const lo = rng.int(3);
      return [{
        ...c, params: { ...c.params, output: 'codes', lo, hi: lo + codes },
        rest: [Float32Array.from({ length: g.outC }, (_, i) => multipliers[(i + codes) % 8]), Float32Array.from({ length: g.outC }, (_, i) => lo + [0, 0.5, 1.5, 2, -Infinity, 3.25, -40][i % 7])],
      }];
    })));
    await check(cases, variant);
    const { program } = convProgram(cases);
    const { target, filter } = { target: TARGET[VARIANTS.find((v) => v.name === variant)!.isa], filter: (v: { name: string }) => v.name === variant };
    expect((await emitWasm(makePlan(program, { target, variants: variantsFor(target), filter }))).wat).toContain('i16x8.gt_s');
  });
});

describe.each(VARIANTS.filter((v) => v.isa !== 'scalar' && v.kernel !== 'f32').map((v) => v.name))('%s: results far from codes', (variant) => {
  it('equal the reference, whether or not all are known to lie within ±2²²', async () => {
    const rng = new Rng(21);
    const { accepts } = VARIANTS.find((v) => v.name === variant)!;
    const wide = { ...PLAIN, batch: 1, inH: 6, inW: 11, inC: 19, outC: 19, kH: 3, kW: 3, padT: 1, padL: 1 };
    const shape = variant.startsWith('depthwise') ? { ...wide, groups: 19 } : variant.startsWith('int8_bytes') ? { ...wide, inH: 1, inW: 1, kH: 1, kW: 1, padT: 0, padL: 0 } : wide;
    const g = withOutput(shape, shape.padT);
    const cases = ([[1, 1], [2, 2], [3, 5], [4, 2], [4, 4], [8, 7], [8, 8]] as const).flatMap(([w, a]) => [false, true].flatMap((bounded): ConvCase[] => {
      const c = integerCase(rng, g, w, a);
      const params = { ...c.params, output: 'codes', lo: 0, hi: 255 } as const;
      if (!accepts(params)) return [];
      const sum = convK(g) * Math.max(1, 2 ** (w - 1)) * Math.max(params.xZero, 2 ** a - 1 - params.xZero);
      const most = (part: number): number => (part * 2 ** 22) / sum;
      const multipliers = [most(0.999), most(1e-4), ...(bounded ? [] : [2 ** 24, 2 ** 27, 1e30, Infinity].map((x) => x / sum))];
      const rest: [Float32Array, Float32Array] = [Float32Array.from({ length: g.outC }, (_, i) => multipliers[i % multipliers.length]), Float32Array.from({ length: g.outC }, (_, i) => [0, -100.5, 1000][i % 3])];
      expect(isBounded(params, ...rest)).toBe(bounded);
      return [{ ...c, params, rest }];
    }));
    await check(cases, variant);
  });
});

describe.each(variantNames('lut').filter((name) => name.startsWith('transposed_lut')))('%s', (variant) => {
  const pairs = [2, 3, 4, 5, 6].filter(isBits).flatMap((w) => ([1, 2] as const).filter((a) => a < w).map((a) => [w, a] as const));

  it('equals the reference below, at and above vectors of pixels, blocks of them, tables, tiles and channels of the epilogue', async () => {
    const rng = new Rng(16);
    const [pixels, inputs, outputs] = [[1, 15, 16, 17, 63, 64, 65, 257], [1, 3, 4, 5, 12, 63, 64, 65, 68], [1, 3, 4, 5, 7, 8, 9, 12]];
    const shapes = inputs.flatMap((inC, i) => outputs.map((outC, j) => withOutput(
      { ...PLAIN, batch: 1, inH: 1, inW: pixels[(i + j) % pixels.length], inC, outC, kH: 1, kW: 1 }, 0,
    )));
    await check(shapes.map((g, i) => integerCase(rng, g, ...pairs[i % pairs.length])), variant);
  });

  it('equals the reference where windows lie in the padding in part, with strides and dilations, of channels that do and do not fill tables', async () => {
    const rng = new Rng(17);
    const g = { ...PLAIN, batch: 2, inH: 9, inW: 8, outC: 6, kH: 3, kW: 3, padT: 1, padL: 1 };
    const all = [
      g, { ...g, strideH: 2, strideW: 2 }, { ...g, dilH: 2, dilW: 2, padT: 2, padL: 2 }, { ...g, kH: 5, kW: 2, padT: 3 },
      { ...g, batch: 1, inH: 20, strideH: 3 }, { ...g, kH: 1, kW: 1, padT: 0, padL: 0, strideH: 2, strideW: 2 },
    ];
    await check(all.flatMap((s) => [3, 4, 20].flatMap((inC) => pairs.map((pair) => integerCase(rng, withOutput({ ...s, inC }, 1), ...pair)))), variant);
  });

  it('equals the reference where tables are more than the next cache holds', async () => {
    const g = withOutput({ ...PLAIN, batch: 1, inH: 17, inW: 17, inC: 516, outC: 514, kH: 1, kW: 1 }, 0);
    await check([integerCase(new Rng(18), g, 4, 2)], variant);
  });

  // Sums of tables that just fit an i8, or do not; more of them than an i16 holds; more tables than a chunk may have.
  it.each([
    ['largest', 5, (k: number) => (k < 64 ? 8 : 7)], ['least', 5, () => -8], ['below the least', 5, (k: number) => (k % 16 === 15 ? -9 : -8)],
    ['of 1-table chunks, the largest', 6, () => 31], ['of 1-table chunks, the least', 6, () => -32], ['all but zero', 2, (k: number) => (k % 129 ? 0 : 1)],
  ] as const)('equals the reference at sums in 8 bits that are %s', async (_, w, weight) => {
    const k = 4200;
    const g = withOutput({ ...PLAIN, batch: 1, inH: 1, inW: 17, inC: k, outC: 5, kH: 1, kW: 1 }, 0);
    await check(([1, 2] as const).map((a): ConvCase => {
      const c = integerCase(new Rng(19), g, w, a);
      const rest = [new Float32Array(5).fill(1), new Float32Array(5)];
      return {
        params: { ...c.params, output: 'f32', lo: -Infinity, hi: Infinity },
        x: new Uint8Array(c.x.length).fill(2 ** a - 1), w: Int8Array.from({ length: c.w.length }, (__, i) => weight(i % k)), rest,
      };
    }), variant);
  });
});

/** Depthwise shapes with rows of several parts, windows of many rows, and every way of two neighbours to share columns. */
const wideDepthwise = (rng: Rng): ConvGeometry[] => {
  const g = { ...PLAIN, batch: 2, inH: 9, inW: 301, inC: 70, outC: 70, groups: 70, kH: 3, kW: 3, padT: 1, padL: 1 };
  const some = [
    g, { ...g, strideW: 2, strideH: 2 }, { ...g, strideW: 3 }, { ...g, strideW: 4 }, { ...g, dilW: 2, dilH: 2 }, { ...g, dilH: 3 }, { ...g, kH: 7, kW: 7 }, { ...g, kH: 2, kW: 1 },
    { ...g, kH: 9, kW: 1, strideH: 3 },
  ];
  return some.map((s) => withOutput({ ...s, inW: 20 + rng.int(20) }, 1)).concat(withOutput(g, 0));
};

describe.each(variantNames('winograd'))('%s', (variant) => {
  const few = [1, 2, 3];
  const shape = (rng: Rng, inC: number, outC: number): ConvGeometry => withOutput(
    { ...PLAIN, batch: 1 + rng.int(2), inH: 3 + rng.int(20), inW: 3 + rng.int(30), inC, outC, kH: 3, kW: 3, padT: rng.int(3), padL: rng.int(3) }, rng.int(3),
  );
  it('equals the reference for all bit pairs and odd sizes', async () => {
    const rng = new Rng(12);
    await check(BITS.flatMap((w) => BITS.flatMap((a) => [integerCase(rng, shape(rng, 1 + rng.int(20), 1 + rng.int(18)), w, a)])), variant);
  });
  // Channels and bits as many as the variants accept, or nearly so.
  it.each([[1024, 8, 8], [456, 6, 8], [114, 8, 8], [1024, 4, 8], [1024, 5, 5], [1024, 2, 2], [7, 1, 1]] as const)(
    'equals the reference where accumulators are largest: %i channels, W%iA%i', async (inC, w, a) => {
      const g = withOutput({ ...PLAIN, batch: 1, inH: 4, inW: 5, inC, outC: 3, kH: 3, kW: 3, padT: 1, padL: 1 }, 1);
      const full = integerCase(new Rng(13), g, w, a);
      if (!VARIANTS.find((v) => v.name === variant)!.accepts(full.params)) {
        expect(variant === 'winograd5__simd128' ? Math.max(w, a) > 5 : variant === 'winograd4_bytes__simd128' ? w > 2 : variant === 'winograd4__simd128' && inC * w * a === 65536).toBe(true);
        return;
      }
      const [lo, hi, top] = [w === 1 ? -1 : -(2 ** (w - 1)), w === 1 ? 1 : 2 ** (w - 1) - 1, 2 ** a - 1];
      const of = (x: (row: number, column: number) => number, weight: (kh: number, kw: number) => number): ConvCase => ({
        ...full,
        x: Uint8Array.from({ length: full.x.length }, (_, i) => x(Math.floor(i / (5 * inC)), Math.floor(i / inC) % 5)),
        w: Int8Array.from({ length: full.w.length }, (_, i) => weight(Math.floor(i / (3 * inC)) % 3, Math.floor(i / inC) % 3)),
      });
      const least = (): number => lo;
      const sign = (kh: number, kw: number): number => ((kh + kw) % 2 ? hi : lo);
      await check([
        full, of(() => top, least), of(() => top, () => hi),
        // Signs that make transformed values largest, in tiles of 4×4, 6×6 and 7×7 inputs.
        of((_, x) => (x % 2 ? top : 0), sign), of((y, x) => (y < 2 === x < 2 ? top : 0), least), of((y, x) => (y < 2 === x < 2 ? 0 : top), sign),
      ], variant);
    },
  );
  it('equals the reference on images smaller than a tile, with few channels', async () => {
    const rng = new Rng(14);
    const all = few.flatMap((inH) => few.flatMap((inW) => few.map((inC) => withOutput(
      { ...PLAIN, batch: 1 + rng.int(3), inH, inW, inC: 5 * inC - 4, outC: 7 + rng.int(3), kH: 3, kW: 3, padT: 1, padL: 1 }, 1,
    ))));
    await check(all.map((g) => integerCase(rng, g, BITS[rng.int(4)], BITS[rng.int(8)])), variant);
  });
  it('equals the reference on blocks of several rows of tiles, the last one shorter', async () => {
    const rng = new Rng(15);
    const g = { ...PLAIN, batch: 2, inC: 9, outC: 9, kH: 3, kW: 3, padT: 1, padL: 1 };
    const all = [{ ...g, inH: 75, inW: 14 }, { ...g, inH: 11, inW: 211 }, { ...g, inH: 46, inW: 33 }, { ...g, inH: 101, inW: 3 }];
    await check(all.flatMap((s) => [integerCase(rng, withOutput(s, 1), 2, 4), integerCase(rng, withOutput(s, 0), 5, 3)]), variant);
  });
});

describe.each(variantNames('depthwise'))('%s', (variant) => {
  it('equals the reference for all weight bits', () => check(integerCases(4, 2, true), variant));
  it('equals the reference on rows of several parts', () => {
    const rng = new Rng(10);
    return check(wideDepthwise(rng).flatMap((g) => ([[8, 8], [4, 4], [2, 2], [8, 3], [7, 7]] as const).map(([w, a]) => integerCase(rng, g, w, a))), variant);
  });
});

describe.each(['f32__simd128', 'f32__scalar', 'f32_depthwise__simd128', 'f32_depthwise__scalar'])('%s', (variant) => {
  it('equals the reference bit for bit', async () => {
    const rng = new Rng(5);
    const cases = Array.from({ length: 60 }, () => floatCase(rng, randomGeometry(rng, variant.includes('depthwise'))));
    await check(cases, variant);
  });
  it('equals the reference on rows of several parts, and on single pixels', () => {
    const rng = new Rng(11);
    const wide = withOutput({ ...PLAIN, batch: 2, inH: 3, inW: 400, inC: 5, outC: 9, kH: 2, kW: 3, padT: 1, padL: 2 }, 1);
    const single = withOutput({ ...PLAIN, batch: 1, inH: 3, inW: 3, inC: 50, outC: 41, kH: 3, kW: 3, padT: 0, padL: 0 }, 0);
    const all = variant.includes('depthwise') ? wideDepthwise(rng) : [wide, single, { ...single, batch: 3 }];
    return check(all.map((g) => floatCase(rng, g)), variant);
  });
});

describe('choice of variants', () => {
  it.each(TARGETS)('%s: something accepts everything', (target) => {
    const rng = new Rng(6);
    for (let i = 0; i < 200; i++) {
      const g = randomGeometry(rng, i % 4 === 0);
      for (const c of [integerCase(rng, g, BITS[rng.int(8)], BITS[rng.int(8)]), floatCase(rng, g)]) {
        expect(variantsFor(target).some((v) => v.accepts(c.params))).toBe(true);
      }
    }
  });

  it('emits no SIMD for wasm-scalar, and SIMD for wasm', async () => {
    const rng = new Rng(7);
    const { program } = convProgram([integerCase(rng, randomGeometry(rng, false), 4, 4), floatCase(rng, randomGeometry(rng, false))]);
    const wat = async (target: string): Promise<string> => (await emitWasm(makePlan(program, { target, variants: variantsFor(target) }))).wat;
    expect(await wat('wasm-scalar')).not.toContain('v128');
    expect(await wat('wasm')).toContain('i32x4.dot_i16x8_s');
  });

  it('refuses to emit a SIMD variant for wasm-scalar', async () => {
    const { program } = convProgram([integerCase(new Rng(8), randomGeometry(new Rng(8), false), 4, 4)]);
    await expect(emitWasm(makePlan(program, { target: 'wasm-scalar', variants: variantsFor('wasm') }))).rejects.toMatchObject({ code: 'E901' });
  });
});
