import { readFileSync } from 'node:fs';
import { type KernelVariant, makePlan } from '@bitloom/codegen';
import { type ConvParams, convMacs } from '@bitloom/kernel-spec';
import type { Bits } from '@bitloom/numerics';
import { Rng } from '@bitloom/tensor';
import { describe, expect, it } from 'vitest';
import { C_VARIANTS, NO_C_COMPILER, emitC, findCompiler } from './index.js';
import { type ConvCase, canonicalBits, convProgram, describeCase, expected, randomF32Case, randomIntCase, runOnce } from './test-programs.test.fixtures.js';

const cc = await findCompiler();
if (!cc) console.log(`skipped: ${NO_C_COMPILER}`);
const clang = await findCompiler(['clang']);
if (cc && !clang) console.log('skipped in part: no clang');

/** Whether this machine runs code for an instruction set named as in /proc/cpuinfo. */
function hasCpu(flag: string): boolean {
  try {
    return new RegExp(`^flags.*\\b${flag}\\b`, 'm').test(readFileSync('/proc/cpuinfo', 'utf8'));
  } catch {
    return false;
  }
}
const avx2 = hasCpu('avx2');
if (cc && !avx2) console.log('skipped in part: no AVX2');
const native = process.arch === 'x64' ? ['-march=native'] : [];

const WIDTHS: readonly Bits[] = [1, 2, 3, 4, 5, 6, 7, 8];
const PAIRS = WIDTHS.flatMap((w) => WIDTHS.map((a) => [w, a] as const));

interface Pinned {
  readonly variant: string;
  readonly c: ConvCase;
}
const pinned = (variant: string, cases: readonly ConvCase[]): Pinned[] => cases.map((c) => ({ variant, c }));

function planOf(cases: readonly Pinned[]) {
  const { program, sample } = convProgram(cases.map((p) => p.c));
  const chosen = new Map<ConvParams, string>(cases.map((p) => [p.c.params, p.variant]));
  const filter = (v: KernelVariant, p: ConvParams): boolean => chosen.get(p) === v.name;
  return { plan: makePlan(program, { target: 'c', variants: C_VARIANTS, filter }), sample };
}

/** Runs all cases in one program and compares every byte with the reference. */
async function check(cases: readonly Pinned[], compiler: string, flags: readonly string[]): Promise<void> {
  const { plan, sample } = planOf(cases);
  const run = await runOnce(plan, sample, compiler, flags);
  cases.forEach(({ variant, c }, i) => {
    const got = canonicalBits(run.outputs.get(`y${i}`)!.data);
    const want = canonicalBits(expected(c));
    const at = want.findIndex((b, j) => got[j] !== b);
    if (at >= 0) throw new Error(`${variant}: byte ${at} of ${want.length} is ${got[at]}, not ${want[at]}: ${describeCase(c)}`);
  });
}

/** Both integer kernels on every given pair of widths. */
const intCases = (rng: Rng, pairs: readonly (readonly [Bits, Bits])[]): Pinned[] =>
  ['int8', 'bitserial'].flatMap((v) => pinned(v, pairs.map(([w, a], i) => randomIntCase(rng, w, a, { extreme: i % 3 === 2 }))));
const otherCases = (rng: Rng): Pinned[] => [
  ...pinned('depthwise', WIDTHS.flatMap((w) => [3, 8].map((a) => randomIntCase(rng, w, a as Bits, { shape: 'depthwise', extreme: a === 8 })))),
  ...pinned('f32', [1, 2, 3, 4, 5, 6].map(() => randomF32Case(rng))),
  ...pinned('f32_depthwise', [1, 2, 3, 4].map(() => randomF32Case(rng, 'depthwise'))),
  ...pinned('f32_panel4', [1, 2, 3, 4, 5, 6, 7, 8].map(() => randomF32Case(rng, 'dense'))),
  ...pinned('f32_panel4', [1, 2, 3, 4].map(() => randomF32Case(rng, 'grouped4'))),
];

describe.skipIf(!cc)('convolutions in C equal the reference bit for bit', () => {
  it('all 64 pairs of widths, portable C99', async () => {
    await check(intCases(new Rng(1), PAIRS), cc!, ['-std=c99', '-O1']);
  });
  it('all 64 pairs of widths, with the instructions of this machine', async () => {
    await check(intCases(new Rng(2), PAIRS), cc!, ['-std=gnu99', '-O1', ...native]);
  });
  it.skipIf(!avx2)('AVX2', async () => {
    const rng = new Rng(3);
    const cases = [...intCases(rng, PAIRS.filter(([w, a]) => (w + a) % 4 === 0)), ...intCases(rng, [[8, 8], [1, 1]])];
    await check(cases, cc!, ['-std=c99', '-O1', '-mavx2', '-mpopcnt']);
  });
  it('depthwise and f32, -O0', async () => {
    await check(otherCases(new Rng(4)), cc!, ['-std=c99', '-O0']);
  });
  it('depthwise and f32, where a fused multiply-add would be allowed', async () => {
    await check(otherCases(new Rng(5)), cc!, ['-std=gnu99', '-O3', ...native]);
  });
  it('sanitised, every seventh pair', async () => {
    const rng = new Rng(6);
    const cases = [...intCases(rng, PAIRS.filter((_, i) => i % 7 === 0)), ...otherCases(rng)];
    await check(cases, cc!, ['-std=c99', '-O1', '-fsanitize=address,undefined', '-fno-sanitize-recover=all']);
  });
  it.skipIf(!clang)('clang', async () => {
    const rng = new Rng(7);
    await check([...intCases(rng, PAIRS.filter((_, i) => i % 5 === 0)), ...otherCases(rng)], clang!, ['-std=gnu99', '-O2', '-Wno-pass-failed', ...native]);
  });
});

describe('C variants', () => {
  const rng = new Rng(8);
  it('have one that takes anything', () => {
    for (const [w, a] of PAIRS) {
      const { params } = randomIntCase(rng, w, a);
      expect(C_VARIANTS.filter((v) => v.accepts(params)).map((v) => v.name)).toEqual(expect.arrayContaining(['int8', 'bitserial']));
    }
    for (let i = 0; i < 20; i++) expect(C_VARIANTS.some((v) => v.name === 'f32' && v.accepts(randomF32Case(rng).params))).toBe(true);
  });

  const layer: ConvParams = {
    ...randomF32Case(rng).params, batch: 1, inH: 28, inW: 28, inC: 128, outH: 28, outW: 28, outC: 128, kH: 3, kW: 3, strideH: 1, strideW: 1,
    padT: 1, padL: 1, dilH: 1, dilW: 1, groups: 1, kind: 'int', weightBits: 1, activationBits: 1, output: 'codes', lo: 0, hi: 1,
  };
  const cheapest = (p: ConvParams): string => C_VARIANTS.filter((v) => v.accepts(p)).reduce((a, b) => (b.cost(p) < a.cost(p) ? b : a)).name;
  it('choose bit planes for few bits, bytes for many, and depthwise for depthwise', () => {
    expect(convMacs(layer)).toBe(28 * 28 * 128 * 1152);
    expect(cheapest(layer)).toBe('bitserial');
    expect(cheapest({ ...layer, weightBits: 8, activationBits: 8, hi: 255 })).toBe('int8');
    expect(cheapest({ ...layer, weightBits: 4, activationBits: 8, groups: 128 })).toBe('depthwise');
    expect(cheapest({ ...layer, kind: 'f32', weightBits: null, activationBits: null, output: 'f32' })).toBe('f32_panel4');
  });

  it('refuse bounds that are no codes', () => {
    const c = randomIntCase(rng, 4, 4, { output: 'codes' });
    const { plan } = planOf(pinned('int8', [{ ...c, params: { ...c.params, hi: 300 } }]));
    expect(() => emitC(plan, { name: 'x' })).toThrow('bounds of codes');
  });
});
