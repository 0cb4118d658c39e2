#!/usr/bin/env node
/**
 * Writes docs/operators.md from the importers, the core ops and packages/conformance/results.json. Needs a build (`npx tsc -b`).
 * The results are recorded by `BLESS=1 npx vitest run -c vitest.workspace.ts --project conformance node-cases`.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const root = new URL('../', import.meta.url);
try {
  const { operatorsDocument } = await import('../packages/conformance/dist/index.js');
  const results = JSON.parse(readFileSync(new URL('packages/conformance/results.json', root), 'utf8'));
  const target = fileURLToPath(new URL('docs/operators.md', root));
  writeFileSync(target, operatorsDocument(results));
  console.log(`operators: wrote ${target}`);
} catch (error) {
  if (error.code !== 'ERR_MODULE_NOT_FOUND') throw error;
  console.error('operators: the packages are not built; run `npx tsc -b` first');
  process.exitCode = 1;
}
