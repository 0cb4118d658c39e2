#!/usr/bin/env node
/**
 * How good predicted latencies are: tunes ResNet-20 of the data folder on this machine, compiles five assignments with that table (one of
 * them searched under a share of the time of W8A8, the smallest from --share on that can be met), runs the bundles in turns, and prints predicted beside measured times.
 *
 *   node tools/latency.mjs [--target wasm-scalar|wasm-simd128|wasm-relaxed|c] [--share 60] [--rounds 9] [--clock wall|cpu]
 *
 * Costs are kept in .cache/latency and measured once for a machine.
 */
import { existsSync, mkdirSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { spawnSync } from 'node:child_process';

const root = resolve(dirname(fileURLToPath(import.meta.url)), '..');
const { values: flags } = parseArgs({
  options: { target: { type: 'string', default: 'wasm-scalar' }, share: { type: 'string', default: '60' }, rounds: { type: 'string', default: '9' }, clock: { type: 'string', default: 'wall' } },
});
const built = spawnSync(process.execPath, [join(root, 'node_modules/typescript/bin/tsc'), '-b', 'packages/bench'], { cwd: root, stdio: 'inherit' });
if (built.status !== 0) process.exit(1);
const { compile, tune } = await import(new URL('../packages/compiler/dist/index.js', import.meta.url));
const { benchBundle } = await import(new URL('../packages/bench/dist/index.js', import.meta.url));

const data = process.env.BITLOOM_DATA || join(root, '../shared/data');
const model = join(data, 'models/cifar10_resnet20.onnx');
if (!existsSync(model)) {
  console.log(`skipped: ${model} is missing (BITLOOM_DATA names another folder)`);
  process.exit(0);
}
const folder = join(root, '.cache/latency');
mkdirSync(folder, { recursive: true });
const { target } = flags;
const costs = join(folder, `${target}.json`);
const bits = { weights: [2, 4, 8], activations: [2, 4, 8] };
const warn = () => {}; // that there is no calibration data
const tuned = await tune(model, { target, ...bits, output: costs }, { warn, progress: (_, done, total) => process.stderr.write(`\rtune ${done}/${total} `) });
process.stderr.write(`\n${tuned.timed} times measured in ${tuned.seconds.toFixed(0)} s, ${tuned.known} known\n`);

const assignments = [
  { precision: 'w8a8' }, { precision: 'w4a8' }, { precision: 'w4a4' }, { precision: 'w2a2' },
  // The share asked for, or the smallest that can be met.
  ...Array.from({ length: 10 }, (_, i) => ({ ...bits, budget: `latency=${Number(flags.share) + 5 * i}%` })),
];
const bundles = [];
for (const options of assignments) {
  if (bundles.some((b) => b.budget)) break;
  const name = options.precision ?? options.budget;
  const output = join(folder, `${target}-${name.replace(/\W/g, '')}`);
  try {
    const { latency } = await compile(model, { ...options, target: [target], costs, samples: 64, output }, { warn });
    bundles.push({ name, output, budget: options.budget, predicted: latency[tuned.targets.at(-1)], measured: [] });
  } catch (e) {
    if (e.code !== 'E501') throw e;
    console.log(`${name}: ${e.message}, ${e.diagnostic.expected}`);
  }
}
for (let round = 0; round < Number(flags.rounds); round++) {
  for (const b of round % 2 ? [...bundles].reverse() : bundles) {
    process.stderr.write(`\rround ${round + 1}, ${b.name}      `);
    const { engines } = await benchBundle(b.output, {
      against: [], beside: [], model: null, qdq: null, profile: false, clock: flags.clock, folder: root, rounds: 1, roundMs: 200, progress: () => {},
    });
    b.measured.push(engines[0].median);
  }
}
const median = (all) => [...all].sort((a, b) => a - b)[all.length >> 1];
const ms = (ns) => `${(ns / 1e6).toFixed(3).padStart(8)} ms`;
const share = (a, b) => (a / b).toFixed(3).padStart(9);
// Predictions are sums of what calls take undisturbed, so that the fastest round is what they predict; the median tells of the machine.
const [base] = bundles.map((b) => ({ median: median(b.measured), fastest: Math.min(...b.measured) }));
console.log(`\n${tuned.machine}; ${tuned.targets.at(-1)}\n                  time, ms                              predicted over         of w8a8's\nassignment     predicted     median    fastest       median  fastest    median  fastest`);
for (const { name, predicted, measured } of bundles) {
  const [mid, fastest] = [median(measured), Math.min(...measured)];
  console.log(`${name.padEnd(12)} ${ms(predicted)}${ms(mid)}${ms(fastest)}   ${share(predicted, mid)}${share(predicted, fastest)} ${share(mid, base.median)}${share(fastest, base.fastest)}`);
}
