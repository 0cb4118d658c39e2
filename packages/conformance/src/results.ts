/** What a run of the node cases showed, kept in `results.json` so that `docs/operators.md` can be made without the cases. */

export const RUNTIMES = ['import', 'evaluator', 'reference', 'wasm', 'c'] as const;
export type Runtime = (typeof RUNTIMES)[number];

export interface OperatorResult {
  readonly cases: number;
  /** Cases that pass, in the order of {@link RUNTIMES}. */
  readonly passed: readonly number[];
  /** Operator sets of the imported cases: lowest and highest; null where none is imported. */
  readonly opsets: readonly [number, number] | null;
  /** Why cases are excluded, on any runtime. */
  readonly excluded: readonly string[];
}

export interface Results {
  readonly operators: Readonly<Record<string, OperatorResult>>;
  /** Core op → cases in whose imported graph it occurs. */
  readonly coreOps: Readonly<Record<string, number>>;
}

/** What became of one case. */
export interface CaseResult {
  readonly operator: string;
  readonly passed: ReadonlySet<Runtime>;
  readonly opset: number | null;
  readonly coreOps: readonly string[];
  readonly excluded: readonly string[];
}

const byName = <V>(entries: Iterable<readonly [string, V]>): Record<string, V> =>
  Object.fromEntries([...entries].sort(([a], [b]) => (a < b ? -1 : 1)));

export function tally(cases: readonly CaseResult[]): Results {
  const groups = new Map<string, CaseResult[]>();
  const coreOps = new Map<string, number>();
  for (const c of cases) {
    groups.set(c.operator, [...(groups.get(c.operator) ?? []), c]);
    for (const op of new Set(c.coreOps)) coreOps.set(op, (coreOps.get(op) ?? 0) + 1);
  }
  const operators = [...groups].map(([operator, list]) => {
    const opsets = list.flatMap((c) => (c.opset === null ? [] : [c.opset]));
    return [operator, {
      cases: list.length,
      passed: RUNTIMES.map((r) => list.filter((c) => c.passed.has(r)).length),
      opsets: opsets.length > 0 ? [Math.min(...opsets), Math.max(...opsets)] : null,
      excluded: [...new Set(list.flatMap((c) => c.excluded))].sort(),
    } satisfies OperatorResult] as const;
  });
  return { operators: byName(operators), coreOps: byName(coreOps) };
}

/** The text of `results.json`: one line per entry. */
export function printResults(r: Results): string {
  const object = (o: Readonly<Record<string, unknown>>): string =>
    `{\n${Object.entries(o).map(([k, v]) => `    ${JSON.stringify(k)}: ${JSON.stringify(v)}`).join(',\n')}\n  }`;
  return `{\n  "operators": ${object(r.operators)},\n  "coreOps": ${object(r.coreOps)}\n}\n`;
}
