import { type KernelName, makePlan } from '@bitloom/codegen';
import type { Bits } from '@bitloom/numerics';
import { Rng } from '@bitloom/tensor';
import { afterAll, describe, expect, it } from 'vitest';
import { C_VARIANTS, NO_C_COMPILER, compileC, emitC, findCompiler, runC } from './index.js';
import { type ConvCase, canonicalBits, convProgram, describeCase, expected, randomF32Case, randomIntCase } from './test-programs.test.fixtures.js';

const cc = await findCompiler();
if (!cc) console.log(`skipped: ${NO_C_COMPILER}`);

const WIDTHS: readonly Bits[] = [1, 2, 3, 4, 5, 6, 7, 8];
const STRICT = ['-Wall', '-Wextra', '-Wpedantic', '-Werror'];

/** Runs all cases in one program and compares every byte with the reference. */
async function check(cases: readonly ConvCase[], kernel: string, flags: readonly string[], compiler = cc!): Promise<void> {
  const { program, sample } = convProgram(cases);
  const plan = makePlan(program, { target: 'c', variants: C_VARIANTS, filter: (v) => v.name === kernel });
  const outputs = new Map(cases.map((c, i) => [`y${i}`, expected(c)]));
  const binary = (await compileC(emitC(plan, { name: 'cases' }), { cc: compiler, flags: [...STRICT, ...flags] }))!;
  try {
    const [run] = await runC(binary, plan, [sample]);
    cases.forEach((c, i) => {
      const got = canonicalBits(run.outputs.get(`y${i}`)!.data);
      const want = canonicalBits(outputs.get(`y${i}`)!);
      const at = want.findIndex((b, j) => got[j] !== b);
      if (at >= 0) throw new Error(`${kernel}: byte ${at} of ${want.length} is ${got[at]}, not ${want[at]}: ${describeCase(c)}`);
    });
  } finally {
    await binary.dispose();
  }
}

describe.skipIf(!cc)('convolutions', () => {
  it('try', async () => {
    const rng = new Rng(1);
    const cases = WIDTHS.flatMap((w) => WIDTHS.map((a) => randomIntCase(rng, w, a)));
    for (const k of ['int8', 'bitserial']) for (const flags of [['-std=c99', '-O2'], ['-std=gnu99', '-O3', '-march=native']]) {
      const t = performance.now();
      await check(cases, k, flags);
      console.log(k, flags.join(' '), performance.now() - t);
    }
  });
});
