#!/usr/bin/env node
/**
 * Writes packages/compiler/costs/BACKEND.json, the times that serve who does not tune: typical layers are timed on this machine (it should
 * be idle); kept are these times, and what is fitted to them. Run it again after an interruption; what was measured lies in .cache/costs.
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
const { flavoursOf } = await import(new URL('../packages/compiler/dist/targets.js', import.meta.url));
const { CostTable, costTableText, parseCostTable } = await import(new URL('../packages/codegen/dist/index.js', import.meta.url));

/** C programs take long to compile, scalar code long to run; at other widths fits to more bits serve. */
const BITS = { wasm: [1, 2, 3, 4, 5, 6, 7, 8], 'wasm-scalar': [1, 2, 3, 4, 8], c: [1, 2, 3, 4, 8] };

/** Times of kernels slower by more than this are not shipped. */
const WORTH = 1.2;

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
  const kept = new CostTable();
  kept.machine.set(backend, measured.machine.get(backend));
  for (const [id, of] of measured.fits) kept.fits.set(id, of);
  // Of the layers themselves the kernels that may be chosen, on some instruction set.
  for (const { variants } of flavoursOf(backend)) {
    const timed = variants.map((v) => ({ name: v.name, times: measured.convs.get(`${backend} ${v.name}`) ?? new Map() }));
    const fastest = new Map();
    for (const { times } of timed) for (const [key, ns] of times) fastest.set(key, Math.min(ns, fastest.get(key) ?? Infinity));
    for (const { name, times } of timed) {
      for (const [key, ns] of times) if (ns <= WORTH * fastest.get(key)) kept.setConv(backend, name, key, Number(ns.toPrecision(4)));
    }
  }
  writeFileSync(join(root, 'packages/compiler/costs', `${backend}.json`), costTableText(kept));
  console.log(`\nwrote packages/compiler/costs/${backend}.json: ${report.timed} times in ${(report.seconds / 60).toFixed(1)} min, ${report.known} known before`);
}
