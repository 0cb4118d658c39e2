import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import type { ConvGeometry } from '@bitloom/kernel-spec';
import type { Bits } from '@bitloom/numerics';
import { Rng } from '@bitloom/tensor';
import { describe, expect, it } from 'vitest';
import { C_VARIANTS, type CIsa, ISAS, NO_C_COMPILER, compileC, emitC, findCompiler, planC } from './index.js';
import { type Pinned, canonicalBits, convProgram, describeCase, expected, pinnedPlans, randomF32Case, randomIntCase, runOnce } from './test-programs.test.fixtures.js';

const cc = await findCompiler();
if (!cc) console.log(`skipped: ${NO_C_COMPILER}`);

const PLAIN = { batch: 1, groups: 1, strideH: 1, strideW: 1, padT: 1, padL: 1, dilH: 1, dilW: 1, kH: 3, kW: 3 } as const;
const GEOMETRIES: readonly ConvGeometry[] = [
  { ...PLAIN, inH: 19, inW: 17, outH: 19, outW: 17, inC: 32, outC: 33 },
  { ...PLAIN, inH: 21, inW: 17, outH: 11, outW: 9, inC: 3, outC: 190, strideH: 2, strideW: 2 },
  { ...PLAIN, inH: 16, inW: 15, outH: 16, outW: 15, inC: 48, outC: 48, kH: 1, kW: 1, padT: 0, padL: 0 },
  { ...PLAIN, inH: 31, inW: 20, outH: 29, outW: 18, inC: 24, outC: 48, padT: 0, padL: 0 },
  { ...PLAIN, inH: 63, inW: 20, outH: 32, outW: 20, inC: 80, outC: 80, groups: 80, strideH: 2 },
  { ...PLAIN, inH: 20, inW: 20, outH: 18, outW: 20, inC: 64, outC: 64, groups: 2, dilH: 2 },
  { ...PLAIN, batch: 5, inH: 1, inW: 1, outH: 1, outW: 1, inC: 400, outC: 300, kH: 1, kW: 1, padT: 0, padL: 0 },
];
const PAIRS: readonly (readonly [Bits, Bits] | null)[] = [[1, 1], [2, 2], [4, 4], [4, 8], [8, 8], null];

async function checkParts(isa: CIsa): Promise<void> {
  const rng = new Rng(5);
  const pinned = C_VARIANTS.filter((v) => v.isa === isa).flatMap((variant) => GEOMETRIES.flatMap((g): Pinned[] => {
    const cases = PAIRS.map((pair) => (pair ? randomIntCase(rng, ...pair, { geometry: g }) : randomF32Case(rng, 'any', g))).filter((c) => variant.accepts(c.params));
    return cases.slice(0, 2).map((c) => ({ variant, c }));
  }));
  expect(pinned.length).toBeGreaterThan(10);
  const { plans, sample } = pinnedPlans(pinned, isa, 3);
  expect(plans.at(-1)!.calls.every((c) => c.parts.length === 3)).toBe(true);
  // How a part is computed is the subject of other tests: here only what it is.
  const run = await runOnce(plans, sample, cc!, ['-std=c99', '-O0'], isa);
  pinned.forEach(({ variant, c }, i) => {
    const same = Buffer.from(canonicalBits(run.outputs.get(`y${i}`)!.data)).equals(Buffer.from(canonicalBits(expected(c))));
    expect(same, `${variant.name}: ${describeCase(c)}`).toBe(true);
  });
}

/** Whether this machine runs the code of an instruction set. */
async function runs(isa: CIsa): Promise<boolean> {
  const { program, sample } = convProgram([randomIntCase(new Rng(1), 8, 8)]);
  return runOnce(planC(program), sample, cc!, ['-std=c99', '-O0'], isa).then(() => true, () => false);
}
const isas: CIsa[] = [];
if (cc) for (const { name } of ISAS) if (await runs(name)) isas.push(name);

/** Runs a network with a thread for every part, and alone, and compares with its vector. */
const MAIN = `
#include <pthread.h>
#include <string.h>
#include "model.h"
#include "vectors.h"
static uint64_t arena[MODEL_ARENA_BYTES / 8 + 8];
static uint8_t y[MODEL_OUTPUT_Y0_BYTES];
struct work { void (*part)(void *, int); void *arg; int i; };
static int most = 0;
static void *begin(void *p) { struct work *w = p; w->part(w->arg, w->i); return NULL; }
static void parallel(void *context, int n, void (*part)(void *, int), void *arg) {
  pthread_t threads[8];
  struct work work[8];
  if (n > most) most = n;
  for (int i = n; i-- > 0;) { work[i].part = part; work[i].arg = arg; work[i].i = i; if (pthread_create(&threads[i], NULL, begin, &work[i])) *(int *)context = 1; }
  for (int i = 0; i < n; i++) pthread_join(threads[i], NULL);
}
int main(void) {
  int failed = 0;
  for (int round = 0; round < 5; round++) {
    memset(y, 1, sizeof y);
    memset(arena, 0xa5, sizeof arena);
    model_run_parallel(vectors[0].inputs[0], (void *)y, arena, parallel, &failed);
    if (memcmp(y, vectors[0].outputs[0], sizeof y)) return 2;
  }
  return failed ? 3 : most == 3 ? 0 : 4;
}
`;

describe.skipIf(!cc)('parts for threads', () => {
  it.each(isas)('%s: compute what the whole does', checkParts, 240_000);

  it('run on the threads of a caller, without data races', async () => {
    const c = randomIntCase(new Rng(9), 2, 2, { geometry: GEOMETRIES[0], output: 'codes' });
    const { program, sample } = convProgram([c]);
    const y = { dtype: 'u8' as const, shape: [1, 19, 17, 33], data: expected(c) as Uint8Array };
    const files = new Map(emitC(planC(program, { threads: 3 }), { name: 'model', vectors: [{ inputs: sample, outputs: new Map([['y0', y]]) }] }));
    files.set('selftest.c', MAIN);
    for (const flags of [['-O2'], ['-O1', '-fsanitize=thread']]) {
      const binary = (await compileC(files, { cc: cc!, flags: ['-std=gnu99', '-pthread', ...flags] }))!;
      try {
        await promisify(execFile)(binary.path, []);
      } finally {
        await binary.dispose();
      }
    }
  }, 120_000);

  it('are no part of code for one thread', () => {
    const { program } = convProgram([randomIntCase(new Rng(9), 2, 2, { geometry: GEOMETRIES[0] })]);
    const header = (threads: number): string => emitC(planC(program, { threads }), { name: 'model' }).get('model.h')!;
    expect([header(1).includes('parallel'), header(2).includes('run_parallel')]).toEqual([false, true]);
  });
});
