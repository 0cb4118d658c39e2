/**
 * Golden tests of passes: every case of `filetests/*.ir` is a line `// RUN: <pass or rule> …`, a graph, a line `// ----`, and the
 * graph expected after. `BLESS=1` rewrites the expectations.
 */
import { readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { type Pass, deadCode, parseGraph, printGraph, rewrite, runPasses } from '@bitloom/ir';
import { opTable } from '@bitloom/ops';
import { describe, expect, it } from 'vitest';
import { eliminateCommonSubexpressions } from './simplify/common-subexpressions.js';
import { FLOAT_PASSES, SIMPLIFY_RULES } from './simplify/index.js';

const folder = new URL('./filetests/', import.meta.url);
const BLESS = process.env.BLESS === '1';
const COMMAND = 'BLESS=1 npx vitest run -c vitest.workspace.ts --project transforms filetests';

const single = (name: string, run: Pass['run']): Pass => ({ name, from: 'float', to: 'float', run });
const passes: readonly Pass[] = [
  ...FLOAT_PASSES,
  single('dead-code', deadCode),
  single('common-subexpressions', eliminateCommonSubexpressions),
  ...SIMPLIFY_RULES.map((r) => single(r.name, (g) => rewrite(g, [r], opTable).graph)),
];

const files = readdirSync(folder).filter((f) => f.endsWith('.ir')).sort();
const used = new Set<string>();

describe.each(files)('%s', (file) => {
  const cases = readFileSync(new URL(file, folder), 'utf8').split(/^(?=\/\/ RUN:)/m);
  const results: string[] = [];
  it.each(cases.map((text, i) => [i + 1, text] as const))('case %i', async (_, text) => {
    const [input, expected] = text.split(/^\/\/ ----\n/m);
    const names = /^\/\/ RUN: (.*)$/m.exec(input)![1].trim().split(/\s+/);
    names.forEach((n) => used.add(n));
    const found = names.map((n) => passes.find((p) => p.name === n)!);
    const graph = await runPasses(parseGraph(input, opTable), found, opTable);
    const actual = printGraph(graph).text;
    results.push(`${input}// ----\n${actual}`);
    if (!BLESS) expect(actual, `stale expectation; if the new one is right, run: ${COMMAND}`).toBe(expected?.trimEnd() + '\n');
    else if (results.length === cases.length) writeFileSync(new URL(file, folder), results.join('\n'));
  });
});

it('every rule has a case of its own', () => {
  expect(SIMPLIFY_RULES.map((r) => r.name).filter((n) => !used.has(n))).toEqual([]);
});
