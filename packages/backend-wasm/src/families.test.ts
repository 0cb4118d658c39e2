/** Kernel families at their limits: sizes around tiles, blocks and steps; narrow accumulators as full as they get. */
import { describe, expect, it } from 'vitest';
import { makePlan } from '@bitloom/codegen';
import { type ConvGeometry, convK } from '@bitloom/kernel-spec';
import { type Bits, codeRange, isBits } from '@bitloom/numerics';
import { Rng, type Tensor } from '@bitloom/tensor';
import { FAMILIES } from './families.js';
import type { Family, FamilyKernel } from './family.js';
import { emitWasm, runWasm, variantsFor } from './index.js';
import { enableRelaxed } from './relaxed.test.util.js';
import { type ConvCase, convProgram, integerCase, withOutput } from './conv.test.fixtures.js';

const BITS: readonly Bits[] = [1, 2, 3, 4, 5, 6, 7, 8].filter(isBits);
const relaxed = await enableRelaxed();
const TARGET = { scalar: 'wasm-scalar', simd128: 'wasm', relaxed: 'wasm-relaxed' } as const;
const INTEGER = FAMILIES.filter((f) => f.kernel !== 'f32' && (f.isa !== 'relaxed' || relaxed));

const PLAIN = { batch: 1, groups: 1, kH: 1, kW: 1, strideH: 1, strideW: 1, padT: 0, padL: 0, dilH: 1, dilW: 1 } as const;
const pointwise = (pixels: number, inC: number, outC: number): ConvGeometry => withOutput({ ...PLAIN, inH: 1, inW: pixels, inC, outC }, 0);

/** Compares with the reference, bit for bit. */
async function check(cases: readonly ConvCase[], family: Family): Promise<void> {
  const target = TARGET[family.isa];
  const { program, inputs, expected } = convProgram(cases);
  const plan = makePlan(program, { target, variants: variantsFor(target), filter: (v) => v.name === family.name });
  const got = await runWasm(await emitWasm(plan), plan, inputs);
  expected.forEach((y, i) => {
    const data = (got.get(`y${i}`) as Tensor).data;
    const at = y.findIndex((v: number | bigint, j: number) => !Object.is(v, data[j]));
    if (at >= 0) expect.fail(`${family.name} ${JSON.stringify(cases[i].params)}: element ${at} is ${data[at]}, not ${y[at]}`);
  });
}

interface Accepted {
  readonly w: Bits;
  readonly a: Bits;
  /** For many output channels. */
  readonly kernel: FamilyKernel;
}

/** Bit pairs of a family. */
function accepted(family: Family): Accepted[] {
  const rng = new Rng(1);
  return BITS.flatMap((w) => BITS.flatMap((a) => {
    const { params } = integerCase(rng, pointwise(1, 64, 64), w, a);
    return family.accepts(params) ? [{ w, a, kernel: family.specialise(params) }] : [];
  }));
}

/** Whether an activation, and a weight, is the largest one; else it is the least. */
type Pick = (rng: Rng) => readonly [boolean, boolean];
const LARGEST: Pick = () => [true, true];
const LEAST: Pick = () => [true, false];
const MIXED: Pick = (rng) => [rng.int(2) > 0, rng.int(2) > 0];

/** Unscaled sums of extremes. */
function extreme(g: ConvGeometry, w: Bits, a: Bits, pick: Pick): ConvCase {
  const rng = new Rng(2);
  const { lo, hi } = codeRange({ bits: w, signed: true, axis: null });
  const top = 2 ** a - 1;
  const xZero = rng.int(top + 1);
  return {
    params: { ...g, kind: 'int', weightBits: w, activationBits: a, xZero, output: 'f32', lo: -Infinity, hi: Infinity },
    x: new Uint8Array(g.inH * g.inW * g.inC).map(() => (pick(rng)[0] ? top : 0)),
    w: new Int8Array(g.outC * convK(g)).map(() => (pick(rng)[1] ? hi : lo)),
    rest: [new Float32Array(g.outC).fill(1), new Float32Array(g.outC)],
  };
}
/** Longest reductions tried; bounds of the smallest bit-widths are beyond. */
const LONGEST = 8000;

describe.each(INTEGER.map((f) => [f.name, f] as const))('%s', (_, family) => {
  const pairs = accepted(family);

  it('equals the reference below, at and above blocks of channels, tiles of pixels and steps', async () => {
    const rng = new Rng(3);
    await check(pairs.flatMap(({ w, a, kernel: { channels, step, pixels } }) => {
      const channelCounts = [1, channels / 2, channels - 1, channels, channels + 1].map(Math.ceil);
      const reductions = [1, step - 1, step, step + 1, 3 * step + 2, 16 * step].filter((k) => k > 0);
      const widths = [...pixels, pixels[0] + 1, 2 * pixels[0] + 1];
      const n = Math.max(channelCounts.length, reductions.length, widths.length);
      // Each of them at least once, in different company.
      return Array.from({ length: n }, (_, i) =>
        integerCase(rng, pointwise(widths[i % widths.length], reductions[i % reductions.length], channelCounts[(i * 3) % channelCounts.length]), w, a));
    }), family);
  });

  it('equals the reference at the largest sums, at and above the longest segment', async () => {
    await check(pairs.flatMap(({ w, a, kernel: { step, maxSteps } }) => {
      const bound = maxSteps * step;
      const cases: [number, Pick][] = bound > LONGEST ? [[600, LARGEST], [600, LEAST]] : [[bound, LARGEST], [bound, LEAST], [bound + 1, LARGEST], [2 * bound + step, MIXED]];
      return cases.map(([k, pick], i) => extreme(pointwise(1 + (i % 2), k, 6), w, a, pick));
    }), family);
  });

  it('equals the reference where segments are joined: kernel rows whose sum is above the bound', async () => {
    await check(pairs.filter(({ kernel: { step, maxSteps } }) => maxSteps * step <= LONGEST).flatMap(({ w, a, kernel: { step, maxSteps, grain } }) => {
      // Segments of about two fifths of the longest one, so that two fit together and three do not.
      const inC = Math.max(1, Math.floor((0.4 * maxSteps * step) / grain)) * grain;
      const g = withOutput({ ...PLAIN, inH: 5, inW: 1, inC, outC: 6, kH: 5, kW: 1, padT: 1 }, 1);
      return [LARGEST, LEAST].map((pick) => extreme(g, w, a, pick));
    }), family);
  });
});
