/**
 * Accuracy of the reference network (cifar10_resnet20_jpeg) by rounding and allocation, on the images of the data folder (BITLOOM_DATA, default
 * ../shared/data), as a Markdown table:
 *
 *   node tools/rounding.mjs               nearest and learnt rounding at W4A8, W3A8, W2A8 and 3 bits on average
 *   node tools/rounding.mjs --equalize    the same with cross-layer equalisation
 *   node tools/rounding.mjs --held-out    measured on 5,000 training images that calibration does not see, for choices that must not be made on test images
 *
 * Needs `npm start` (or `npx tsc -b`) and `node tools/unpack-data.mjs` first. Calibration sees 1,024 training images and no labels; allocation at 3 bits on
 * average searches with the same images.
 */
import { existsSync, mkdirSync, readdirSync, rmSync, symlinkSync } from 'node:fs';
import { join, relative } from 'node:path';
import { model, percent, preprocessing, test, train, words } from './reference.mjs';
import { bitloom, root } from './setup.mjs';

const out = join(root, '.cache', 'rounding');
const flags = words(['--equalize', '--held-out']);

/** Every tenth training image to measure on, the others to calibrate on, as folders of links. */
function heldOut() {
  for (const part of ['calib', 'test']) rmSync(join(out, part), { recursive: true, force: true });
  for (const name of readdirSync(train)) {
    for (const part of ['calib', 'test']) mkdirSync(join(out, part, name), { recursive: true });
    readdirSync(join(train, name)).sort().forEach((file, i) =>
      symlinkSync(join(train, name, file), join(out, i % 10 === 0 ? 'test' : 'calib', name, file)));
  }
  return { calib: join(out, 'calib'), test: join(out, 'test') };
}

const folders = flags.includes('--held-out') ? heldOut() : { calib: train, test };
const further = flags.includes('--equalize') ? ['--equalize'] : [];
const ALLOCATIONS = [
  ['W4A8', ['--precision', 'w4a8']],
  ['W3A8', ['--precision', 'w3a8']],
  ['W2A8', ['--precision', 'w2a8']],
  ['3 bits on average', ['--budget', 'bits=3', '--strategy', 'mckp', '--activations', '8']],
];
const ROUNDINGS = ['nearest', 'adaround'];

const shown = (path) => relative(process.cwd(), path) || '.';
const float = bitloom('eval', model, '--data', `images:${folders.test}`, ...preprocessing);
console.log(`float: ${percent(float.top1)} of ${float.samples} images\n`);
console.log(`| allocation | weight bits | ${ROUNDINGS.map((r) => `${r} | time`).join(' | ')} |`);
console.log(`|---|---:|${ROUNDINGS.map(() => '---:|---:').join('|')}|`);
const commands = [];
for (const [name, allocation] of ALLOCATIONS) {
  const cells = [];
  let bits = 0;
  for (const rounding of ROUNDINGS) {
    const folder = join(out, `${name}-${rounding}`.replace(/[^A-Za-z0-9]+/g, '-'));
    const args = ['--calib', `images:${folders.calib}`, ...preprocessing, ...allocation, '--rounding', rounding, ...further];
    const started = performance.now();
    const c = bitloom('compile', model, ...args, '-o', folder);
    const seconds = (performance.now() - started) / 1000;
    bits = c.bits.weights;
    cells.push(percent(bitloom('eval', folder, '--data', `images:${folders.test}`).top1), `${seconds.toFixed(0)} s`);
    if (name === ALLOCATIONS[0][0] && rounding === ROUNDINGS[1]) {
      commands.push(`bitloom compile ${shown(model)} ${args.map((a) => a.replace(folders.calib, shown(folders.calib))).join(' ')} -o ${shown(folder)}`,
        `bitloom eval ${shown(folder)} --data images:${shown(folders.test)}`);
    }
  }
  console.log(`| ${name} | ${bits.toFixed(2)} | ${cells.join(' | ')} |`);
}
console.log(`\n${['node tools/rounding.mjs', ...flags].join(' ')} prints this table; ${ALLOCATIONS[0][0]} with ${ROUNDINGS[1]} alone:\n\n${commands.map((c) => `    ${c}`).join('\n')}`);
