import { existsSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { BitloomError, formatDiagnostic } from '@bitloom/diagnostics';
import { verifyGraph } from '@bitloom/ir';
import { evaluateGraph, opTable } from '@bitloom/ops';
import { Rng, type Tensor, getAt, sameShape } from '@bitloom/tensor';
import { describe, expect, it } from 'vitest';
import { type NodeCase, importNodeCase, loadNodeCases } from './node-tests.js';

const dir = process.env.BITLOOM_NODE_TESTS ?? fileURLToPath(new URL('../../../.cache/data/onnx-node-tests/node', import.meta.url));
const ATOL = 1e-5;
/** bfloat16 has 8 significant bits, and is computed here in f32 without rounding to them. */
const rtolOf = (name: string): number => (/bfloat16/i.test(name) ? 2 ** -7 : 1e-3);

function difference(found: Tensor, expected: Tensor, rtol: number): string | null {
  if (found.dtype !== expected.dtype || !sameShape(found.shape, expected.shape)) return `${found.dtype}[${found.shape}] instead of ${expected.dtype}[${expected.shape}]`;
  for (let i = 0; i < expected.data.length; i++) {
    const [a, b] = [getAt(found, i), getAt(expected, i)];
    const same = Object.is(a, b) || a === b || Math.abs(a - b) <= ATOL + rtol * Math.abs(b);
    if (!same) return `${a} instead of ${b} at element ${i}`;
  }
  return null;
}

/** 'pass', or what happened instead. */
function outcome(c: NodeCase): string {
  if (c.unreadable !== null) return `unreadable: ${c.unreadable}`;
  try {
    const { graph } = importNodeCase(c);
    verifyGraph(graph, opTable);
    const results = evaluateGraph(graph, c.inputs);
    for (const id of graph.outputs) {
      const { name } = graph.values.get(id)!;
      const wrong = difference(results.get(id)!, c.outputs.get(name)!, rtolOf(c.name));
      if (wrong !== null) return `wrong: ${name} is ${wrong}`;
    }
    return 'pass';
  } catch (error) {
    if (error instanceof BitloomError) return `${error.code === 'E202' ? 'refused' : 'error'}: ${formatDiagnostic(error.diagnostic).replace(/\n\s+/g, ' | ')}`;
    return `crash: ${error instanceof Error ? error.stack?.split('\n').slice(0, 4).join(' ') : String(error)}`;
  }
}

describe.skipIf(!existsSync(dir))(`ONNX node tests on the evaluator${existsSync(dir) ? '' : ` (skipped: no ${dir}; run node tools/unpack-data.mjs)`}`, () => {
  it('pass, or are refused with a code', () => {
    const outcomes = new Map([...loadNodeCases(dir)].map((c) => [c.name, outcome(c)]));
    const count = (kind: string): number => [...outcomes.values()].filter((o) => o.startsWith(kind)).length;
    const summary = Object.fromEntries(['pass', 'wrong', 'refused', 'error', 'unreadable', 'crash'].map((kind) => [kind, count(kind)]));
    console.log(JSON.stringify(summary));
    if (process.env.BITLOOM_OUTCOMES) writeFileSync(process.env.BITLOOM_OUTCOMES, [...outcomes].map(([name, o]) => `${name}\t${o}\n`).join(''));
    expect([...outcomes].filter(([, o]) => /^(crash|wrong)/.test(o))).toEqual([]);
    expect(summary.pass).toBeGreaterThanOrEqual(1530);
  }, 300_000);

  it('end in a coded error, or a graph, when their files are damaged', () => {
    const rng = new Rng(1);
    for (const c of loadNodeCases(dir)) {
      const model = Uint8Array.from(c.model);
      for (let k = 0; k <= rng.int(3); k++) model[rng.int(model.length)] ^= 1 << rng.int(8);
      try {
        importNodeCase({ ...c, model });
      } catch (error) {
        expect(error, c.name).toBeInstanceOf(BitloomError);
        expect((error as BitloomError).code, c.name).toMatch(/^E2/);
      }
    }
  });
});
