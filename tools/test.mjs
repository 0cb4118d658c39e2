#!/usr/bin/env node
/**
 * `npm test`: from a fresh clone to `N passed, N failed`. Lint and type check count as one test each.
 * `npm run test:slow` (--slow): files that thin out what they compile, without thinning out.
 */
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { cCompiler, root, run, say, setUp, tsc } from './setup.mjs';

const slow = process.argv.includes('--slow');
const SLOW = ['--project', 'conformance', '--project', 'backend-c', '--project', 'study', 'src/node-cases.test.ts', 'src/conv.test.ts', 'src/kill.test.ts'];

setUp();
let passed = 0;
let failed = 0;
const skipped = [];
const check = (title, command, args, env) => {
  say(title);
  const ok = run(command, args, { env }) === 0;
  console.log(`${title}: ${ok ? 'passed' : 'FAILED'}`);
  if (ok) passed++;
  else failed++;
};

const data = resolve(root, process.env.BITLOOM_DATA || '../shared/data');
if (existsSync(data)) {
  say('Data (tools/unpack-data.mjs)');
  if (run(process.execPath, ['tools/unpack-data.mjs']) !== 0) failed++;
} else skipped.push(`tests on shared data: no folder ${data} (BITLOOM_DATA names another)`);
if (!cCompiler()) skipped.push('C: no compiler (CC, cc, gcc, clang)');

if (!slow) {
  check('Lint and module boundaries (nx)', process.execPath, [join(root, 'node_modules/nx/dist/bin/nx.js'), 'run-many', '-t', 'lint', '--outputStyle=static'], {
    NX_DAEMON: 'false', NX_TUI: 'false', NX_NO_CLOUD: 'true',
  });
  check('Types (tsc -b)', ...tsc());
}

say('Tests (vitest)');
const folder = mkdtempSync(join(tmpdir(), 'bitloom-test-'));
const report = join(folder, 'report.json');
const status = run(process.execPath, [
  join(root, 'node_modules/vitest/vitest.mjs'), 'run', '-c', 'vitest.workspace.ts', '--reporter=default', '--reporter=json', `--outputFile.json=${report}`,
  ...(slow ? SLOW : []),
], slow ? { env: { BITLOOM_EXHAUSTIVE: '1' } } : {});
if (existsSync(report)) {
  const r = JSON.parse(readFileSync(report, 'utf8'));
  passed += r.numPassedTests;
  failed += r.numFailedTests;
  // A file that does not load has no tests to fail.
  const broken = r.testResults.filter((f) => f.status === 'failed' && !f.assertionResults.some((a) => a.status === 'failed'));
  failed += broken.length;
  if (r.numPendingTests > 0) skipped.push(`${r.numPendingTests} tests skipped themselves, see above`);
  if (status !== 0 && r.numFailedTests + broken.length === 0) failed++;
} else failed++;
rmSync(folder, { recursive: true, force: true });

for (const reason of skipped) console.log(`skipped: ${reason}`);
console.log(`\n${passed} passed, ${failed} failed`);
process.exitCode = failed === 0 ? 0 : 1;
