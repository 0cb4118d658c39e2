/** The portable kernels at and around the sizes at which their loops change, with operands that reach every bound. */
import { type ConvParams, convK } from '@bitloom/kernel-spec';
import type { Bits } from '@bitloom/numerics';
import { Rng } from '@bitloom/tensor';
import { describe, expect, it } from 'vitest';
import { C_VARIANTS, NO_C_COMPILER, compileC, emitC, findCompiler, planC } from './index.js';
import { type ConvCase, canonicalBits, convProgram, describeCase, expected, runOnce } from './test-programs.test.fixtures.js';

const cc = await findCompiler();
if (!cc) console.log(`skipped: ${NO_C_COMPILER}`);

/** Flags for 32-bit x86, where words hold four counters; null where they do not compile. */
async function flags32(): Promise<readonly string[] | null> {
  const flags = ['-std=c99', '-O1', '-m32', '-msse2', '-mfpmath=sse'];
  const binary = await compileC(emitC(planC(convProgram([]).program), { name: 'empty' }), { cc: cc!, flags }).catch(() => null);
  await binary?.dispose();
  return binary && flags;
}
const m32 = cc ? await flags32() : null;
if (cc && !m32) console.log('skipped in part: no 32-bit compiler and library');

const base = { batch: 1, strideH: 1, strideW: 1, padT: 0, padL: 0, dilH: 1, dilW: 1, groups: 1, kH: 1, kW: 1 };

/** A case whose codes and weights are random, or all as large as they get. */
function caseOf(rng: Rng, w: Bits, a: Bits, geometry: Partial<ConvParams>, full: boolean): ConvCase {
  const top = 2 ** a - 1;
  const half = 2 ** (w - 1);
  const g = { ...base, ...geometry } as ConvParams;
  const params: ConvParams = { ...g, kind: 'int', weightBits: w, activationBits: a, xZero: full ? 0 : rng.int(top + 1), output: 'f32', lo: -Infinity, hi: Infinity };
  const most = w === 1 ? 1 : half - 1;
  return {
    name: `w${w}a${a}`, params,
    weights: Int8Array.from({ length: g.outC * convK(g) }, () => (full ? most : w === 1 ? 2 * rng.int(2) - 1 : rng.int(2 * half) - half)),
    // Sums stay distinguishable in f32.
    scale: Float32Array.from({ length: g.outC }, () => 1), offset: new Float32Array(g.outC),
    x: Uint8Array.from({ length: g.batch * g.inH * g.inW * g.inC }, () => (full ? top : rng.int(top + 1))),
  };
}

/** Positions around the widths of tiles, in a row and one by one; rows around what is turned into tables at a time; channels around a block. */
function geometries(): Partial<ConvParams>[] {
  const row = (inW: number, inC: number, outC: number): Partial<ConvParams> => ({ inH: 1, inW, outH: 1, outW: inW, inC, outC });
  const padded = (outW: number, strideW: number): Partial<ConvParams> => {
    const inW = (outW - 1) * strideW + 1;
    return { inH: 3, inW, inC: 9, outH: 3, outW, outC: 3, kH: 3, kW: 3, strideW, padT: 1, padL: 1 };
  };
  return [
    ...[1, 3, 4, 5, 7, 8, 9, 15, 16, 17, 33].map((n) => row(n, 20, 3)),
    ...[1, 7, 8, 9, 16, 17, 25].map((n) => padded(n, 1)),
    ...[8, 9, 16].flatMap((n) => [2, 3].map((s) => padded(n, s))),
    ...[63, 64, 65, 223, 224, 225, 255, 256, 257, 448, 449, 512, 513].map((k) => row(9, k, 2)),
    ...[255, 256, 257].map((channels) => row(2, 5, channels)),
    ...[1, 7, 8, 9, 17].map((n) => ({ ...padded(n, 1), inC: 3, groups: 3 })),
    { ...padded(9, 2), inC: 3, groups: 3, batch: 2 },
    // Images of a batch, and groups of channels.
    { ...padded(9, 1), batch: 2 },
    { inH: 2, inW: 5, inC: 24, outH: 2, outW: 5, outC: 6, groups: 3, batch: 2 },
    { inH: 4, inW: 11, inC: 6, outH: 2, outW: 9, outC: 4, groups: 2, kH: 2, kW: 2, dilH: 2, dilW: 2 },
  ];
}

const PAIRS: readonly (readonly [Bits, Bits])[] = [[1, 1], [2, 2], [4, 3], [4, 4], [7, 4], [3, 5], [7, 8], [8, 1], [8, 4], [8, 5], [8, 8]];

/** Every `every`th case. */
async function check(names: readonly string[], flags: readonly string[], every = 1): Promise<void> {
  const rng = new Rng(21);
  const variants = C_VARIANTS.filter((v) => names.includes(v.name));
  expect(variants.map((v) => v.name).sort()).toEqual([...names].sort());
  const cases = variants.flatMap((variant) => PAIRS.flatMap(([w, a]) => geometries().flatMap((g, i) => {
    const c = caseOf(rng, w, a, g, i % 2 === 0);
    return variant.accepts(c.params) ? [{ variant, c }] : [];
  }))).filter((_, i) => i % every === 0);
  const { program, sample } = convProgram(cases.map((p) => p.c));
  const chosen = new Map(cases.map((p) => [p.c.params, p.variant]));
  const run = await runOnce(planC(program, { isas: ['portable'], filter: (v, p) => chosen.get(p) === v }), sample, cc!, flags, 'portable');
  cases.forEach(({ variant, c }, i) => {
    const got = canonicalBits(run.outputs.get(`y${i}`)!.data);
    expect(Buffer.compare(got, canonicalBits(expected(c))), `${variant.name} ${describeCase(c)}`).toBe(0);
  });
}

const NAMES = ['lut16', 'mul64', 'mul64_depthwise', 'swar'];
describe.skipIf(!cc)('portable convolutions at the edges of their loops', () => {
  it('equal the reference, without vectors', () => check(NAMES, ['-std=c99', '-O2', '-DBITLOOM_NO_SIMD', ...(process.arch === 'x64' ? ['-march=x86-64'] : [])], 2));
  it('stay within their arrays and types', () => check(NAMES, ['-std=c99', '-O1', '-fsanitize=address,undefined', '-fno-sanitize-recover=all'], 5));
  it.skipIf(!m32)('equal the reference with words of 32 bits', () => check(NAMES, m32!, 3));
});
