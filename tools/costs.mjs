#!/usr/bin/env node
/**
 * Writes packages/compiler/costs/BACKEND.json, the times that serve who does not tune: typical layers are timed on this machine (it should
 * be idle), and what is fitted to them is kept. Run it again after an interruption; what was measured lies in .cache/costs.
 *
 *   node tools/costs.mjs [wasm] [wasm-scalar] [c]     relaxed SIMD needs a Node.js that has it; C times every instruction set of the machine
 */
import { spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = resolve(dirname(fileURLToPath(import.meta.url)), '..');
const built = spawnSync(process.execPath, [join(root, 'node_modules/typescript/bin/tsc'), '-b', 'packages/compiler'], { cwd: root, stdio: 'inherit' });
if (built.status !== 0) process.exit(1);
const { cIsas, tune } = await import(new URL('../packages/compiler/dist/index.js', import.meta.url));
const { CostTable, costTableText, parseCostTable } = await import(new URL('../packages/codegen/dist/index.js', import.meta.url));

/** C programs take long to compile, scalar code long to run; at other widths fits to more bits serve. */
const BITS = { wasm: [1, 2, 3, 4, 5, 6, 7, 8], 'wasm-scalar': [1, 2, 3, 4, 8], c: [1, 2, 3, 4, 8] };

const asked = process.argv.slice(2);
for (const backend of asked.length > 0 ? asked : Object.keys(BITS)) {
  const bits = BITS[backend];
  if (!bits) {
    console.error(`${backend} is none of ${Object.keys(BITS).join(', ')}`);
    process.exit(1);
  }
  const output = join(root, '.cache/costs', `${backend}.json`);
  mkdirSync(dirname(output), { recursive: true });
  const started = performance.now();
  const report = await tune(null, { target: backend, isa: backend === 'c' ? await cIsas() : [], weights: bits, activations: bits, output }, {
    progress: (_, done, total) => process.stderr.write(`\r${backend} ${done}/${total}, ${((performance.now() - started) / 60000).toFixed(1)} min `),
    warn: (w) => console.error(`WARNING: ${w}`),
  });
  const measured = parseCostTable(readFileSync(output, 'utf8'), output);
  const fits = new CostTable();
  fits.machine.set(backend, measured.machine.get(backend));
  for (const [id, of] of measured.fits) fits.fits.set(id, of);
  writeFileSync(join(root, 'packages/compiler/costs', `${backend}.json`), costTableText(fits));
  console.log(`\nwrote packages/compiler/costs/${backend}.json: ${report.timed} times in ${(report.seconds / 60).toFixed(1)} min, ${report.known} known before`);
}
