/** What can be asked for, with defaults: the command line, configuration files and the programmatic API share it. */
import { DEFAULT_CALIBRATION, RANGE_METHODS } from '@bitloom/calibrate';
import { preprocessingSchema } from '@bitloom/data';
import { fail } from '@bitloom/diagnostics';
import { DEVICES } from '@bitloom/engine';
import { ROUNDINGS } from '@bitloom/rounding';
import { type Bits, isBits } from '@bitloom/numerics';
import { z } from 'zod';

/** `wasm` is both modules of `wasm-simd128` and `wasm-relaxed`. */
export const TARGETS = ['wasm', 'wasm-simd128', 'wasm-relaxed', 'wasm-scalar', 'c'] as const;
export type TargetName = (typeof TARGETS)[number];

const bits = z.number().int().min(1).max(8).transform((b) => b as Bits);

/** Options of search, all optional. */
export const searchOptionsSchema = z.strictObject({
  define: z.record(z.string(), z.number().int().positive()).default({}),
  /** Samples of a run. */
  batch: z.number().int().positive().nullable().default(null),
  calib: z.string().nullable().default(null),
  preprocessing: preprocessingSchema.default({}),
  samples: z.number().int().positive().default(1024),
  precision: z.string().nullable().default(null),
  budget: z.string().nullable().default(null),
  strategy: z.string().nullable().default(null),
  strategyOptions: z.record(z.string(), z.unknown()).default({}),
  weights: z.array(bits).nonempty().nullable().default(null),
  activations: z.array(bits).nonempty().nullable().default(null),
  pin: z.array(z.string()).default([]),
  freeEnds: z.boolean().default(false),
  calibration: z.enum(RANGE_METHODS as [string, ...string[]]).transform((m) => m as (typeof RANGE_METHODS)[number]).default(DEFAULT_CALIBRATION.method),
  percentile: z.number().min(50).max(100).default(DEFAULT_CALIBRATION.percentile),
  symmetric: z.boolean().default(DEFAULT_CALIBRATION.symmetric),
  biasCorrection: z.boolean().default(DEFAULT_CALIBRATION.biasCorrection),
  rounding: z.enum(ROUNDINGS).default('adaround'),
  equalize: z.boolean().default(false),
  seed: z.number().int().default(0),
  target: z.array(z.enum(TARGETS)).nonempty().default(['wasm']),
  /** File of measured times. */
  costs: z.string().min(1).nullable().default(null),
});

export const compileOptionsSchema = searchOptionsSchema.extend({
  assignment: z.string().nullable().default(null),
  /** More than 1: also code for so many threads. */
  threads: z.number().int().min(1).max(64).default(1),
  /** Prefix of the C files, functions and macros. */
  cName: z.string().regex(/^[A-Za-z_][A-Za-z0-9_]*$/, 'must be a C identifier').default('model'),
});

/** Options of tune. */
export const tuneOptionsSchema = z.strictObject({
  target: z.enum(TARGETS).default('wasm'),
  /** C: instruction sets; empty for the best of the machine. */
  isa: z.array(z.string()).default([]),
  define: searchOptionsSchema.shape.define,
  batch: searchOptionsSchema.shape.batch,
  weights: searchOptionsSchema.shape.weights,
  activations: searchOptionsSchema.shape.activations,
  /** Measures what is known, too. */
  again: z.boolean().default(false),
  maxSeconds: z.number().nonnegative().nullable().default(null),
});

/** Options of finetune. */
export const finetuneOptionsSchema = z.strictObject({
  /** Labelled training data. */
  data: z.string().min(1),
  preprocessing: preprocessingSchema.default({}),
  define: searchOptionsSchema.shape.define,
  /** Samples for calibration, before training. */
  samples: searchOptionsSchema.shape.samples,
  /** Bits: a file, or the same everywhere. */
  assignment: z.string().nullable().default(null),
  precision: z.string().nullable().default(null),
  pin: searchOptionsSchema.shape.pin,
  freeEnds: searchOptionsSchema.shape.freeEnds,
  /** Of the weights that training begins with. */
  rounding: searchOptionsSchema.shape.rounding,
  epochs: z.number().int().min(1).default(5),
  /** Samples of a step. */
  batch: z.number().int().min(1).default(128),
  rate: z.number().positive().default(0.02),
  stepRate: z.number().nonnegative().default(1),
  warmUp: z.number().min(0).max(1).default(0),
  decay: z.number().nonnegative().default(1e-4),
  clip: z.number().nonnegative().default(5),
  smoothing: z.number().min(0).max(1).default(0),
  /** The float network is the better teacher: see docs/results.md, "Fine-tuning". */
  distillation: z.number().min(0).max(1).default(1),
  temperature: z.number().positive().default(4),
  /** Pixels by which views are moved at most; 0 moves none. */
  crop: z.number().int().nonnegative().default(0),
  flip: z.boolean().default(false),
  /** Labelled data that the network is evaluated on after each epoch. */
  eval: z.string().min(1).nullable().default(null),
  /** Default: beside the output. */
  checkpoint: z.string().min(1).nullable().default(null),
  device: z.enum(DEVICES).default('cpu'),
  seed: z.number().int().default(0),
});

export type FinetuneOptions = z.infer<typeof finetuneOptionsSchema>;
export type TuneOptions = z.infer<typeof tuneOptionsSchema>;
export type SearchOptions = z.infer<typeof searchOptionsSchema>;
export type CompileOptions = z.infer<typeof compileOptionsSchema>;

/** `f32`, or `w4a8` as [4, 8]. @throws E101 */
export function parsePrecision(text: string): 'f32' | readonly [Bits, Bits] {
  if (text === 'f32') return 'f32';
  const m = /^w([1-8])a([1-8])$/i.exec(text);
  const [w, a] = [Number(m?.[1]), Number(m?.[2])];
  return isBits(w) && isBits(a) ? [w, a] : fail('E101', 'precision does not parse', { found: text, expected: 'f32, or w1a1 … w8a8' });
}
