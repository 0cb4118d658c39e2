#!/usr/bin/env node
/**
 * How good the choice of kernels is: tunes every model of the data folder on this machine, and for every layer at several precisions sets the time
 * of the kernel that the shipped table chooses beside that of the fastest one (which a table of one's own chooses). Then the predicted time of
 * each network at each precision beside that at W8A8 and in f32.
 *
 *   node tools/choices.mjs [--target wasm-simd128|wasm-relaxed|c] [--only part-of-a-name]
 *
 * Times are kept in .cache/choices and measured once for a machine.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const root = resolve(dirname(fileURLToPath(import.meta.url)), '..');
const { values: flags } = parseArgs({ options: { target: { type: 'string', default: 'wasm-simd128' }, only: { type: 'string', default: '' } } });
const built = spawnSync(process.execPath, [join(root, 'node_modules/typescript/bin/tsc'), '-b', 'packages/compiler'], { cwd: root, stdio: 'inherit' });
if (built.status !== 0) process.exit(1);
const dist = (path) => import(new URL(`../packages/${path}`, import.meta.url));
const { readCosts, tune } = await dist('compiler/dist/index.js');
const { costsOf, flavoursOf, planOf } = await dist('compiler/dist/targets.js');
const { nominalProgram, planTime } = await dist('compiler/dist/latency.js');
const { loadModel } = await dist('compiler/dist/model.js');
const { lowerGraph } = await dist('transforms/dist/index.js');

const folder = join(process.env.BITLOOM_DATA || join(root, '../shared/data'), 'models');
if (!existsSync(folder)) {
  console.log(`skipped: ${folder} is missing (BITLOOM_DATA names another folder)`);
  process.exit(0);
}
const cache = join(root, '.cache/choices');
mkdirSync(cache, { recursive: true });
const file = join(cache, `${flags.target}.json`);
const BITS = [2, 4, 8];
const PRECISIONS = [[8, 8], [4, 4], [2, 2], null];
const show = (p) => (p ? `w${p[0]}a${p[1]}` : 'f32');
/** Symbolic sizes of models that have some. */
const SIZES = { silero_vad: { sequence: 576 }, superresolution: { H: 56, W: 40 } };

const ratios = [];
console.log(`model                              layers  shipped choice / fastest: median   worst      predicted ms: ${PRECISIONS.map(show).join('  ')}`);
for (const name of readdirSync(folder).filter((f) => f.endsWith('.onnx') && f.includes(flags.only)).sort()) {
  const path = join(folder, name);
  const define = Object.entries(SIZES).find(([part]) => name.includes(part))?.[1] ?? {};
  let graph;
  try {
    graph = (await loadModel(path, define)).graph;
  } catch (e) {
    console.log(`${name.padEnd(34)} skipped: ${e.message}`);
    continue;
  }
  const { targets } = await tune(path, { target: flags.target, define, weights: BITS, activations: BITS, output: file }, { warn: () => {}, progress: (_, done, total) => process.stderr.write(`\r${name} ${done}/${total}  `) });
  process.stderr.write('\r\x1b[K');
  const flavour = flavoursOf(flags.target).find((f) => f.label === targets.at(-1));
  const measured = costsOf(flavour.backend, await readCosts(file));
  const shipped = costsOf(flavour.backend, null);
  const own = [];
  const times = PRECISIONS.map((p) => {
    const program = p ? nominalProgram(graph, ...p) : lowerGraph(graph);
    const best = planOf(program, flavour, measured);
    planOf(program, flavour, shipped).calls.forEach(({ call, variant }, i) => {
      if (call.family !== 'conv') return;
      const [chosen, fastest] = [measured.conv(variant, call.params), best.calls[i].ranking[0].cost];
      if (chosen.measured) own.push(chosen.ns / fastest);
    });
    return planTime(best, measured);
  });
  ratios.push(...own);
  own.sort((a, b) => a - b);
  const at = (q) => (own.length ? own[Math.min(own.length - 1, Math.floor(q * own.length))].toFixed(3) : '-');
  const slower = times.some((t, i) => t > 1.02 * times[0] && PRECISIONS[i]) ? ' slower than w8a8' : times.slice(0, 3).some((t) => t > 1.02 * times[3]) ? ' slower than f32' : '';
  console.log(`${name.padEnd(34)} ${String(own.length).padStart(6)} ${at(0.5).padStart(32)} ${at(1).padStart(7)}      ${times.map((t) => (t / 1e6).toFixed(3).padStart(8)).join('')}${slower}`);
}
ratios.sort((a, b) => a - b);
const within = ratios.filter((r) => r <= 1.05).length;
console.log(`${ratios.length} layers: the shipped choice is within 5 % of the fastest on ${((100 * within) / ratios.length).toFixed(1)} %, median ${ratios[ratios.length >> 1]?.toFixed(3)}, 99th percentile ${ratios[Math.floor(ratios.length * 0.99)]?.toFixed(3)}; with a table of one's own the fastest is chosen`);
