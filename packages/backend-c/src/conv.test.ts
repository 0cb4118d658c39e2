import { type ConvParams, convMacs } from '@bitloom/kernel-spec';
import type { Bits } from '@bitloom/numerics';
import { Rng } from '@bitloom/tensor';
import { describe, expect, it } from 'vitest';
import { C_VARIANTS, type CIsa, type CVariant, ISAS, NO_C_COMPILER, compileC, cVariantsFor, emitC, findCompiler, planC, runC } from './index.js';
import { type ConvCase, type Pinned, type Shape, canonicalBits, convProgram, describeCase, expected, pick, pinnedPlans, randomF32Case, randomIntCase, runOnce } from './test-programs.test.fixtures.js';

const cc = await findCompiler();
if (!cc) console.log(`skipped: ${NO_C_COMPILER}`);
const clang = await findCompiler(['clang']);
if (cc && !clang) console.log('skipped in part: no clang');

const native = process.arch === 'x64' ? ['-march=native'] : [];

/** Set by `npm run test:slow`: four times as many pairs of widths, all of them at -O1. */
const exhaustive = Boolean(process.env.BITLOOM_EXHAUSTIVE);
const TIMEOUT = exhaustive ? 1_200_000 : 240_000;
const WIDTHS: readonly Bits[] = [1, 2, 3, 4, 5, 6, 7, 8];
const PAIRS = WIDTHS.flatMap((w) => WIDTHS.map((a) => [w, a] as const));

/** Runs all cases in one program and compares every byte with the reference. */
async function check(cases: readonly Pinned[], isa: CIsa, compiler: string, flags: readonly string[]): Promise<void> {
  const { plans, sample } = pinnedPlans(cases, isa);
  const run = await runOnce(plans, sample, compiler, flags, isa);
  cases.forEach(({ variant, c }, i) => {
    const got = canonicalBits(run.outputs.get(`y${i}`)!.data);
    const want = canonicalBits(expected(c));
    const at = want.findIndex((b, j) => got[j] !== b);
    if (at >= 0) throw new Error(`${variant.name}: byte ${at} of ${want.length} is ${got[at]}, not ${want[at]}: ${describeCase(c)}`);
  });
}

const SHAPES: readonly Shape[] = ['any', 'tiles', 'dense', 'grouped4', 'tiles', 'depthwise'];

/** A Latin square of pairs of widths: with `every` up to 8, each width of weights and each of activations occurs. */
const covers = (w: number, a: number, every: number, offset: number): boolean => (w + 3 * a + offset) % every === 0;

/** Random cases of the pairs of widths that a variant accepts, one each, thinned out as {@link covers} does, and f32 ones. */
function casesFor(rng: Rng, variant: CVariant, every: number, offset: number): Pinned[] {
  const kinds: ((readonly [Bits, Bits]) | null)[] = [...PAIRS, ...Array.from({ length: 8 }, () => null)];
  const all = kinds.flatMap((pair, i) => {
    for (let attempt = 0; attempt < 12; attempt++) {
      const shape = SHAPES[(i + attempt) % SHAPES.length];
      const c = pair ? randomIntCase(rng, ...pair, { shape, extreme: pick(rng, [false, false, true, 'full' as const]) }) : randomF32Case(rng, shape);
      if (variant.accepts(c.params)) return [{ variant, c, covered: !pair || covers(...pair, every, offset) }];
    }
    return [];
  });
  const some = all.filter((p) => p.covered);
  return some.length ? some : all.slice(0, 1);
}
/** Cases of all kernels of an instruction set; settings of the compiler take different pairs of widths. */
function tableCases(setting: number, isa: CIsa, every: number): Pinned[] {
  const rng = new Rng(setting);
  const variants = C_VARIANTS.filter((v) => v.isa === isa);
  const cases = variants.flatMap((v, n) => casesFor(rng, v, exhaustive ? every / 4 : every, setting + n));
  expect(new Set(cases.map((p) => p.variant))).toEqual(new Set(variants));
  return cases;
}

/** Instruction sets that the machine has, and for which there are kernels. */
async function machineIsas(): Promise<CIsa[]> {
  const files = emitC(planC(convProgram([]).program), { name: 'isas' });
  const binary = await compileC(files, { cc: cc! });
  const runs = await Promise.all(ISAS.map(async ({ name }) => {
    const ran = await runC(binary!, planC(convProgram([]).program)[0], [new Map()], { isa: name }).catch(() => null);
    return ran && C_VARIANTS.some((v) => v.isa === name) ? [name] : [];
  }));
  await binary!.dispose();
  return runs.flat();
}
const isas = cc ? await machineIsas() : ['portable' as const];
for (const { name } of ISAS) if (cc && !isas.includes(name)) console.log(`skipped in part: no ${name} here`);

describe.skipIf(!cc).each(isas)('convolutions in C, %s, equal the reference bit for bit', (isa) => {
  it('every variant', () => check(tableCases(1, isa, 4), isa, cc!, ['-std=c99', '-O1']), TIMEOUT);
  it('with the compiler free to use all instructions of this machine', () => check(tableCases(2, isa, 8), isa, cc!, ['-std=gnu99', '-O3', ...native]), TIMEOUT);
  it('not optimised', () => check(tableCases(3, isa, 8), isa, cc!, ['-std=c99', '-O0']), TIMEOUT);
  it('sanitised', () => check(tableCases(4, isa, 8), isa, cc!, ['-std=c99', '-O0', '-fsanitize=address,undefined', '-fno-sanitize-recover=all']), TIMEOUT);
  it('as long as sums of tables fit', () => {
    const rng = new Rng(6);
    const pixel = { batch: 1, inH: 1, inW: 3, outH: 1, outW: 3, outC: 65, kH: 1, kW: 1, strideH: 1, strideW: 1, padT: 0, padL: 0, dilH: 1, dilW: 1, groups: 1 };
    const cases = [4369, 4370].flatMap((inC) => ([1, 2, 3] as const).map((w) => randomIntCase(rng, w, 4, { geometry: { ...pixel, inC }, extreme: 'full' })));
    const luts = C_VARIANTS.filter((v) => v.isa === isa && v.kernel === 'lut');
    return check(luts.flatMap((variant) => cases.filter((c) => variant.accepts(c.params)).map((c) => ({ variant, c }))), isa, cc!, ['-std=c99', '-O1']);
  }, TIMEOUT);
  it('as long as dot products fit in 16 bits, and sums that thresholds are compared with', () => {
    const rng = new Rng(11);
    const pixel = { batch: 1, inH: 1, inW: 3, outH: 1, outW: 3, outC: 33, kH: 1, kW: 1, strideH: 1, strideW: 1, padT: 0, padL: 0, dilH: 1, dilW: 1, groups: 1 };
    const lengths = [[1, 1, 65535], [1, 1, 32766], [2, 2, 7281], [2, 2, 5461], [1, 2, 21845], [3, 3, 1337]] as const;
    const cases = lengths.flatMap(([w, a, most]) => [most, most + 1].flatMap((inC) => {
      const c = randomIntCase(rng, w, a, { geometry: { ...pixel, inC }, extreme: 'full', output: 'codes' });
      const bound = ({ scale, offset, ...rest }: ConvCase, hi: number): ConvCase => ({
        ...rest, params: { ...rest.params, lo: 0, hi }, scale: scale.map((_, o) => (o % 5 + 1) / (inC * 2 ** (w + a - 2))), offset: offset.map((_, o) => (o % 7) / 2),
      });
      return [1, 3, 255].map((hi) => bound(c, hi));
    }));
    const variants = C_VARIANTS.filter((v) => v.isa === isa && v.kernel !== 'int8');
    return check(variants.flatMap((variant) => cases.filter((c) => variant.accepts(c.params)).map((c) => ({ variant, c }))), isa, cc!, ['-std=c99', '-O1']);
  }, TIMEOUT);
  it('of rows longer than what is requantised at once', () => {
    const rng = new Rng(10);
    const row = { batch: 1, inH: 3, inW: 150, outH: 2, outW: 150, strideH: 1, strideW: 1, padT: 0, padL: 1, dilH: 1, dilW: 1, inC: 7, kH: 2, kW: 3, groups: 1, outC: 70 };
    const geometries = [row, { ...row, outC: 150, kH: 1, kW: 1, padL: 0, outH: 3 }, { ...row, inC: 20, outC: 20, groups: 20 }];
    const cases = ([[1, 1], [2, 2], [3, 4], [8, 8]] as const).flatMap(([w, a]) => geometries.map((geometry) => randomIntCase(rng, w, a, { geometry })));
    const variants = C_VARIANTS.filter((v) => v.isa === isa);
    return check(variants.flatMap((variant) => cases.filter((c) => variant.accepts(c.params)).map((c) => ({ variant, c }))), isa, cc!, ['-std=c99', '-O1']);
  }, TIMEOUT);
  it.skipIf(!clang)('clang', () => check(tableCases(5, isa, 8), isa, clang!, ['-std=gnu99', '-O2', '-Wno-pass-failed', ...native]), TIMEOUT);
});

describe('C variants', () => {
  const rng = new Rng(8);
  it('have a portable one for anything, and one packing for all', () => {
    for (const c of [...PAIRS.map(([w, a]) => randomIntCase(rng, w, a)), ...Array.from({ length: 40 }, () => randomF32Case(rng))]) {
      const accepting = C_VARIANTS.filter((v) => v.accepts(c.params));
      expect(accepting.some((v) => v.isa === 'portable'), describeCase(c)).toBe(true);
      expect(new Set(accepting.map((v) => v.packing(c.params))).size).toBe(1);
    }
  });
  it('have names of their own', () => {
    expect(new Set(C_VARIANTS.map((v) => v.name)).size).toBe(C_VARIANTS.length);
  });

  const layer: ConvParams = {
    ...randomF32Case(rng).params, batch: 1, inH: 28, inW: 28, inC: 128, outH: 28, outW: 28, outC: 128, kH: 3, kW: 3, strideH: 1, strideW: 1,
    padT: 1, padL: 1, dilH: 1, dilW: 1, groups: 1, kind: 'int', weightBits: 1, activationBits: 1, output: 'codes', lo: 0, hi: 1,
  };
  const cheapest = (p: ConvParams): string => cVariantsFor('portable').filter((v) => v.accepts(p)).reduce((a, b) => (b.cost(p) < a.cost(p) ? b : a)).name;
  const fully: ConvParams = { ...layer, inH: 1, inW: 1, outH: 1, outW: 1, inC: 512, kH: 1, kW: 1, padT: 0, padL: 0 };
  it('choose tables for few bits, bit planes for single rows, products for eight bits, and depthwise for depthwise', () => {
    expect(convMacs(layer)).toBe(28 * 28 * 128 * 1152);
    for (const w of [1, 2, 4] as const) for (const a of [1, 2, 4, 8] as const) expect(cheapest({ ...layer, weightBits: w, activationBits: a })).toBe('lut16');
    expect(cheapest(fully)).toBe('swar');
    expect(cheapest({ ...layer, weightBits: 8, activationBits: 8, hi: 255 })).toBe('mul64');
    expect(cheapest({ ...fully, weightBits: 8, activationBits: 8, hi: 255 })).toBe('int8');
    expect(cheapest({ ...layer, weightBits: 4, activationBits: 8, groups: 128 })).toBe('mul64_depthwise');
    expect(cheapest({ ...layer, kind: 'f32', weightBits: null, activationBits: null, output: 'f32' })).toBe('f32_panel4');
  });

  it('refuse bounds that are no codes', () => {
    const c = randomIntCase(rng, 4, 4, { output: 'codes' });
    const { program } = convProgram([{ ...c, params: { ...c.params, hi: 300 } }]);
    expect(() => emitC(planC(program), { name: 'x' })).toThrow('bounds of codes');
  });
});
