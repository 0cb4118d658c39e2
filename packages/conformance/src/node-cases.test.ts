import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';
import { type CIsa, NO_C_COMPILER, findCompiler, planC } from '@bitloom/backend-c';
import { emitWasm, runWasm, variantsFor } from '@bitloom/backend-wasm';
import { makePlan } from '@bitloom/codegen';
import { prepare } from '@bitloom/compiler';
import { BitloomError, formatDiagnostic } from '@bitloom/diagnostics';
import { type Program, type TensorMap, runProgram } from '@bitloom/kernel-spec';
import { type ImportedCase, type NodeCase, importNodeCase, loadNodeCases } from '@bitloom/onnx';
import { evaluateGraph } from '@bitloom/ops';
import type { Tensor } from '@bitloom/tensor';
import { lowerGraph } from '@bitloom/transforms';
import { afterAll, describe, expect, it } from 'vitest';
import { type Batch, runBatch, startBatch } from './c-batch.js';
import { bitDifference, difference, toleranceOf } from './compare.js';
import { type Exclusion, disagreements, excluded } from './exclusions.js';
import { C_EXCLUSIONS } from './exclusions/c.js';
import { EVALUATOR_EXCLUSIONS } from './exclusions/evaluator.js';
import { IMPORT_EXCLUSIONS } from './exclusions/import.js';
import { WASM_EXCLUSIONS } from './exclusions/wasm.js';
import { type Runtime, printResults, tally } from './results.js';

const root = fileURLToPath(new URL('../../../', import.meta.url));
const folder = `${root}.cache/data/onnx-node-tests/node`;
const index = `${process.env.BITLOOM_DATA ?? `${root}../shared/data`}/onnx-node-tests.cases.json`;
const recorded = `${root}packages/conformance/results.json`;
const absent = [folder, index].find((path) => !existsSync(path));
const compiler = await findCompiler();
/** Set by `npm run test:slow`. */
const exhaustive = Boolean(process.env.BITLOOM_EXHAUSTIVE);

const explain = (error: unknown): string => {
  if (error instanceof BitloomError) return formatDiagnostic(error.diagnostic).replace(/\n\s+/g, ' | ');
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
};
/** Only convolutions and large nests have code of their own for an instruction set. */
const isasFor = (program: Program): readonly CIsa[] | undefined =>
  exhaustive || program.calls.some((c) => c.family === 'conv' || c.params.operands.some((o) => o.elements >= 1024)) ? undefined : ['portable'];
/** Lets the compilers' input and output flow between cases. */
const breathe = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

interface Subject {
  readonly case: NodeCase;
  readonly imported: ImportedCase;
  program: Program | null;
  /** Outputs of the reference interpreter: what every backend must equal bit for bit. */
  reference: TensorMap | null;
}

/** Null when all outputs are as the case says. */
function judge(c: NodeCase, outputs: TensorMap): string | null {
  for (const [name, expected] of c.outputs) {
    const found = outputs.get(name);
    const wrong = found ? difference(found, expected, toleranceOf(c.name, expected.dtype)) : 'missing';
    if (wrong !== null) return `output ${name} is ${wrong}`;
  }
  return null;
}

/** The same for a backend, which also must equal the reference. */
function judgeBackend(s: Subject, outputs: ReadonlyMap<string, Tensor>): string | null {
  for (const [name, expected] of s.reference!) {
    const wrong = bitDifference(outputs.get(name)!, expected);
    if (wrong !== null) return `output ${name} differs from the reference: ${wrong}`;
  }
  return judge(s.case, outputs);
}

if (absent !== undefined) console.log(`conformance: skipped, no ${absent}; run node tools/unpack-data.mjs`);
else if (!compiler) console.log(`conformance: C is left out, ${NO_C_COMPILER}`);

describe.skipIf(absent !== undefined)('ONNX node cases', () => {
  const cases = absent === undefined ? [...loadNodeCases(folder)].map((c) => ({ ...c, name: c.name.replace(/^test_/, '') })) : [];
  const subjects: Subject[] = [];
  const batches: Batch[] = [];
  const outcomes = new Map<Runtime, Map<string, string | null>>();
  const reasons = new Map<string, string[]>();

  /** Runs `of` on every subject and holds the outcomes against the list. */
  async function check(runtime: Runtime, list: readonly Exclusion[], of: (s: Subject) => string | null | Promise<string | null>): Promise<void> {
    const results = new Map<string, string | null>();
    for (const s of subjects) {
      await breathe();
      try {
        results.set(s.case.name, await of(s));
      } catch (error) {
        results.set(s.case.name, explain(error));
      }
    }
    record(runtime, list, results);
  }

  function record(runtime: Runtime, list: readonly Exclusion[], results: Map<string, string | null>): void {
    outcomes.set(runtime, results);
    for (const name of results.keys()) {
      const x = excluded(list, name);
      if (x) reasons.set(name, [...(reasons.get(name) ?? []), x.reason]);
    }
    expect(disagreements(list, results)).toEqual([]);
  }

  it('are imported', () => {
    const results = new Map<string, string | null>();
    for (const c of cases) {
      try {
        if (c.unreadable === null) subjects.push({ case: c, imported: importNodeCase(c), program: null, reference: null });
        results.set(c.name, c.unreadable && `values cannot be read: ${c.unreadable}`);
      } catch (error) {
        results.set(c.name, explain(error));
        if (!(error instanceof BitloomError && (error.code === 'E202' || error.code === 'E209'))) throw error;
      }
    }
    record('import', IMPORT_EXCLUSIONS, results);
  });

  it('run as a reference program', async () => {
    await check('reference', [], async (s) => {
      s.program = lowerGraph(await prepare(s.imported.graph));
      s.reference = runProgram(s.program, s.case.inputs);
      return judge(s.case, s.reference);
    });
    if (!compiler) return;
    const items = subjects.filter((s) => s.reference).map((s) => ({ name: s.case.name, plans: planC(s.program!, { isas: isasFor(s.program!) }), inputs: s.case.inputs }));
    // Function bodies are made of what their operators' own cases are made of: for their structure the compiler need not optimise.
    const bodies = items.filter((i) => !exhaustive && i.name.includes('_expanded'));
    for (const [some, level] of [[items.filter((i) => !bodies.includes(i)), '-O1'], [bodies, '-O0']] as const) {
      const size = Math.ceil(some.length / Math.min(16, availableParallelism()));
      for (let i = 0; i < some.length; i += size) batches.push(startBatch(some.slice(i, i + size), level));
    }
  }, 300_000);

  it('run on the evaluator', () => check('evaluator', EVALUATOR_EXCLUSIONS, (s) => {
    const values = evaluateGraph(s.imported.graph, s.case.inputs);
    return judge(s.case, new Map([...values].map(([id, t]) => [s.imported.graph.values.get(id)!.name, t])));
  }), 300_000);

  it('run on WebAssembly, with and without SIMD, bit for bit as the reference', () => check('wasm', WASM_EXCLUSIONS, async (s) => {
    if (!s.reference) return 'no program';
    for (const target of ['wasm', 'wasm-scalar']) {
      const plan = makePlan(s.program!, { target, variants: variantsFor(target) });
      const wrong = judgeBackend(s, await runWasm(await emitWasm(plan), plan, s.case.inputs));
      if (wrong !== null) return `${target}: ${wrong}`;
    }
    return null;
  }), 600_000);

  it.skipIf(!compiler)('run as C, bit for bit as the reference', async () => {
    const results = new Map(subjects.map((s): [string, string | null] => [s.case.name, 'no program']));
    const byName = new Map(subjects.map((s) => [s.case.name, s]));
    for (const batch of batches) {
      const outputs = await runBatch(batch);
      batch.items.forEach((item, i) => results.set(item.name, judgeBackend(byName.get(item.name)!, outputs![i])));
    }
    record('c', C_EXCLUSIONS, results);
  }, 600_000);

  it('are counted in results.json', () => {
    const operators = (JSON.parse(readFileSync(index, 'utf8')) as { cases: Record<string, { operator: string }> }).cases;
    const imported = new Map(subjects.map((s) => [s.case.name, s.imported]));
    const all = cases.map((c) => {
      const i = imported.get(c.name);
      return {
        // Function bodies count for the operator that they define.
        operator: operators[`test_${c.name.replace(/_expanded.*/, '')}`].operator,
        passed: new Set([...outcomes].filter(([, results]) => results.get(c.name) === null).map(([r]) => r)),
        opset: i?.opset ?? null,
        coreOps: i?.graph.nodes.map((n) => n.op) ?? [],
        excluded: reasons.get(c.name) ?? [],
      };
    });
    const count = (...runtimes: Runtime[]): number => all.filter((c) => runtimes.every((r) => c.passed.has(r))).length;
    const onAll = count('evaluator', 'wasm', 'c');
    const each = (['import', 'evaluator', 'wasm', 'c'] as const).map((r) => `${count(r)} ${r}`);
    console.log(`conformance: ${each.join(', ')}, ${onAll} on all three of ${cases.length}`);
    if (!compiler) return;
    expect(onAll).toBeGreaterThanOrEqual(600);
    const text = printResults(tally(all));
    if (process.env.BLESS) writeFileSync(recorded, text);
    const stale = 'results.json is stale: BLESS=1 npx vitest run -c vitest.workspace.ts --project conformance node-cases';
    expect(text, stale).toBe(readFileSync(recorded, 'utf8'));
  });

  afterAll(async () => {
    await Promise.all(batches.map(async (b) => (await b.binary.catch(() => null))?.dispose()));
  });
});
