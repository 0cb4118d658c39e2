/** The kernels on 64-bit ARM, cross-compiled and emulated. */
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execFile } from 'node:child_process';
import type { Bits } from '@bitloom/numerics';
import { Rng } from '@bitloom/tensor';
import { describe, expect, it } from 'vitest';
import { C_VARIANTS, type CIsa, compileC, emitC, findCompiler, runC } from './index.js';
import { type Pinned, type Shape, canonicalBits, describeCase, expected, pinnedPlans, randomF32Case, randomIntCase } from './test-programs.test.fixtures.js';

const EMULATOR = 'qemu-aarch64';
const starts = (command: string): Promise<boolean> => new Promise((resolve) => execFile(command, ['--version'], (error) => resolve(!error)));
const cc = await findCompiler(['aarch64-linux-gnu-gcc']);
const emulator = await starts(EMULATOR);
if (!cc) console.log('skipped: no aarch64-linux-gnu-gcc');
else if (!emulator) console.log(`skipped: no ${EMULATOR}`);
const clang = await findCompiler(['clang']);
if (cc && emulator && !clang) console.log('skipped in part: no clang');

/** Runs all cases in one emulated program and compares every byte with the reference. */
async function check(cases: readonly Pinned[], isa: CIsa, flags: readonly string[], compiler = cc!): Promise<void> {
  expect(cases.length).toBeGreaterThan(0);
  const { plans, sample } = pinnedPlans(cases, isa);
  const binary = (await compileC(emitC(plans, { name: 'test' }), { cc: compiler, flags: ['-static', '-Wall', '-Wextra', '-Wpedantic', '-Werror', ...flags] }))!;
  const dir = await mkdtemp(join(tmpdir(), 'bitloom-neon-'));
  const path = join(dir, 'run');
  try {
    await writeFile(path, `#!/bin/sh\nexec ${EMULATOR} '${binary.path}' "$@"\n`);
    await chmod(path, 0o755);
    const [run] = await runC({ ...binary, path }, plans[0], [sample], { isa });
    cases.forEach(({ variant, c }, i) => {
      const got = canonicalBits(run.outputs.get(`y${i}`)!.data);
      const want = canonicalBits(expected(c));
      const at = want.findIndex((b, j) => got[j] !== b);
      if (at >= 0) throw new Error(`${variant.name}: byte ${at} of ${want.length} is ${got[at]}, not ${want[at]}: ${describeCase(c)}`);
    });
  } finally {
    await rm(dir, { recursive: true, force: true });
    await binary.dispose();
  }
}

const SHAPES: readonly Shape[] = ['any', 'dense', 'grouped4', 'any'];
const WIDTHS: readonly Bits[] = [1, 2, 3, 4, 5, 6, 7, 8];

/** For each variant of an instruction set, random cases of every `every`th pair of widths that it accepts; the largest codes and weights in every third. */
function casesOf(seed: number, isa: CIsa, every: number): Pinned[] {
  const rng = new Rng(seed);
  return C_VARIANTS.filter((v) => v.isa === isa).flatMap((variant, n) => {
    const ints = WIDTHS.flatMap((w) => WIDTHS.map((a) => (rng: Rng, i: number) => randomIntCase(rng, w, a, { shape: SHAPES[i % 4], extreme: i % 3 === 0 })));
    const floats = SHAPES.map((shape) => (rng: Rng) => randomF32Case(rng, shape));
    const makers = [...ints.filter((_, i) => (i + n) % every === 0), ...floats];
    return makers.flatMap((make, i) => Array.from({ length: 6 }, () => make(rng, i)).filter((c) => variant.accepts(c.params)).slice(0, 1).map((c) => ({ variant, c })));
  });
}

describe.skipIf(!cc || !emulator)('convolutions on 64-bit ARM equal the reference bit for bit', () => {
  it('with the instructions that every such processor has', () => check(casesOf(1, 'neon', 4), 'neon', ['-std=c99', '-O1']));
  it('with dot products', () => check(casesOf(2, 'neon', 6), 'neon', ['-std=c99', '-O2', '-march=armv8.2-a+dotprod']));
  it.skipIf(!clang)('clang', () => check(casesOf(5, 'neon', 6), 'neon', ['--target=aarch64-linux-gnu', '-std=gnu99', '-O2', '-Wno-pass-failed'], clang!));
  it('not optimised, sanitised', () => check(casesOf(3, 'neon', 6), 'neon', ['-std=c99', '-O0', '-fsanitize=undefined', '-fno-sanitize-recover=all']));
  it('portable kernels, where a fused multiply-add would be allowed', () => check(casesOf(4, 'portable', 6), 'portable', ['-std=gnu99', '-O2']));
});
