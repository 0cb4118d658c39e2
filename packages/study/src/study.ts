/** What a study found. */
import { VERSION } from '@bitloom/compiler';
import type { Diagnostic } from '@bitloom/diagnostics';
import type { AssignmentFile } from '@bitloom/search';
import type { Setting, StudyOptions } from './options.js';
import { type Estimate, estimate } from './statistics.js';

/** What the compiler made. */
export interface Made {
  /** Averages over parameters and over MACs. */
  readonly bits: { readonly weights: number; readonly activations: number };
  readonly weightBytes: number;
  readonly bops: number;
  /** Predicted ns of a run, by target and instruction set. */
  readonly latency: Readonly<Record<string, number>>;
}

export interface Measured {
  /** Share of right answers in percent. */
  readonly accuracy: number;
  /** Mean cross-entropy in nats. */
  readonly loss: number;
}

type Nullable<T> = { readonly [K in keyof T]: T[K] | null };

/** A setting with a seed. What is unknown is null: of cells without a result, and of searches that predict nothing. */
export interface CellReport extends Setting, Nullable<Made>, Nullable<Measured> {
  readonly seed: number;
  /** Of fine-tuning. */
  readonly epochs: number;
  readonly status: 'pending' | 'done' | 'infeasible' | 'failed';
  /** Of `infeasible` and `failed`. */
  readonly error: Diagnostic | null;
  /** The budget, and what of it is used. */
  readonly limit: number | null;
  readonly used: number | null;
  readonly objective: number | null;
  readonly lowerBound: number | null;
  readonly gap: number | null;
  /** The same bits without fine-tuning. */
  readonly untuned: Measured | null;
  /** Epochs of fine-tuning. */
  readonly training: readonly { readonly loss: number; readonly accuracy: number | null }[];
  readonly assignment: AssignmentFile | null;
}

/** A setting over its seeds; null where no seed has a value. */
export interface Summary extends Setting {
  readonly cells: number;
  readonly done: number;
  readonly accuracy: Estimate | null;
  readonly untuned: Estimate | null;
  readonly weightBits: Estimate | null;
  readonly activationBits: Estimate | null;
  readonly weightBytes: Estimate | null;
  readonly bops: Estimate | null;
  readonly latency: Readonly<Record<string, Estimate>>;
}

export interface StudyReport {
  readonly kind: 'study';
  readonly schemaVersion: 1;
  readonly generator: { readonly name: 'bitloom'; readonly version: string };
  readonly model: { readonly name: string; readonly sha256: string };
  readonly data: { readonly fingerprint: string; readonly samples: number };
  readonly eval: { readonly fingerprint: string; readonly samples: number };
  /** As given, with defaults; costs as hash of the file. */
  readonly options: Omit<StudyOptions, 'output' | 'data' | 'eval'>;
  readonly float: Made & Measured;
  readonly summary: readonly Summary[];
  readonly cells: readonly CellReport[];
}

/** By what a study.json is known. */
export const MARK = { kind: 'study', schemaVersion: 1, generator: { name: 'bitloom', version: VERSION } } as const;

/** Whether a study.json is ours, of any version. */
export function isStudy(json: unknown): boolean {
  const s = json as { kind?: unknown; generator?: { name?: unknown } } | null;
  return s?.kind === MARK.kind && s.generator?.name === MARK.generator.name;
}

export function summaryOf(settings: readonly Setting[], cells: readonly CellReport[]): Summary[] {
  return settings.map(({ strategy, budget, precision }) => {
    const own = cells.filter((c) => c.strategy === strategy && c.budget === budget && c.precision === precision);
    const over = (pick: (c: CellReport) => number | null | undefined): Estimate | null => estimate(own.flatMap((c) => pick(c) ?? []));
    const targets = [...new Set(own.flatMap((c) => Object.keys(c.latency ?? {})))];
    return {
      strategy, budget, precision, cells: own.length, done: own.filter((c) => c.status === 'done').length,
      accuracy: over((c) => c.accuracy), untuned: over((c) => c.untuned?.accuracy),
      weightBits: over((c) => c.bits?.weights), activationBits: over((c) => c.bits?.activations), weightBytes: over((c) => c.weightBytes), bops: over((c) => c.bops),
      latency: Object.fromEntries(targets.map((t) => [t, over((c) => c.latency?.[t])!])),
    };
  });
}

/** Whether every cell was tried, and none has a result; the code of the first failure then. */
export function failureOf(r: StudyReport): Diagnostic | null {
  return r.cells.every((c) => c.error !== null) ? r.cells[0].error : null;
}
