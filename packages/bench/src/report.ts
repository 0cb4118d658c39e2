/** Results as data, as a table, and as docs/benchmarks.md. */
import type { Measurement } from './rounds.js';

/** Times of one layer or model on one engine, in ns. */
export interface Result extends Pick<Measurement, 'min' | 'median'> {
  readonly suite: string;
  /** Layer or model. */
  readonly case: string;
  readonly engine: string;
  /** `f32`, `w2a4` …; `int8` for peers. */
  readonly precision: string;
  /** Multiply–accumulates. */
  readonly macs: number;
}

export interface BenchReport {
  readonly date: string;
  readonly command: string;
  readonly machine: { readonly cpu: string; readonly cores: number; readonly platform: string };
  readonly versions: Readonly<Record<string, string>>;
  readonly options: { readonly rounds: number; readonly roundMs: number };
  readonly results: readonly Result[];
  readonly skipped: readonly string[];
}

/** What times are divided by, where it was measured. */
const BASELINES = [['onnxruntime-web', 'f32'], ['onnxruntime-web', 'int8'], ['onnxruntime-node', 'f32'], ['onnxruntime-node', 'int8']] as const;

/** Header and rows for the results of one case: medians, shortest times, operations a second (2 a MAC), ratios of medians. */
export function caseTable(results: readonly Result[]): string[][] {
  const bases = BASELINES.flatMap(([engine, precision]) => results.filter((r) => r.engine === engine && r.precision === precision));
  const ms = (ns: number): string => (ns / 1e6).toFixed(3);
  return [
    ['engine', 'bits', 'median ms', 'min ms', 'GOPS', ...bases.map((b) => `× ${b.engine.replace('onnxruntime', 'ort')} ${b.precision}`)],
    ...results.map((r) => [r.engine, r.precision, ms(r.median), ms(r.min), ((2 * r.macs) / r.median).toFixed(1), ...bases.map((b) => (b.median / r.median).toFixed(2))]),
  ];
}

/** Columns, the first two to the left. */
export function aligned(rows: readonly (readonly string[])[]): string {
  const widths = rows[0].map((_, i) => Math.max(...rows.map((r) => r[i].length)));
  return rows.map((r) => r.map((c, i) => (i < 2 ? c.padEnd(widths[i]) : c.padStart(widths[i]))).join('  ').trimEnd()).join('\n');
}

/** Suites and their cases, in the order of measurement. */
export function grouped(results: readonly Result[]): Map<string, Map<string, Result[]>> {
  const suites = new Map<string, Map<string, Result[]>>();
  for (const r of results) {
    const cases = suites.get(r.suite) ?? new Map<string, Result[]>();
    suites.set(r.suite, cases.set(r.case, [...(cases.get(r.case) ?? []), r]));
  }
  return suites;
}
