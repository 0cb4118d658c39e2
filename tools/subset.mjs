#!/usr/bin/env node
/**
 * A part of a folder of images with one folder a class, as links to its files:
 *
 *   node tools/subset.mjs .cache/data/cifar10/train .cache/data/cifar10/train-10000 1000    # the first 1,000 of each class by name
 *   node tools/subset.mjs .cache/data/cifar10/train .cache/data/cifar10/held-out 500 2000  # 500 of each from the 2,001st
 */
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync, symlinkSync } from 'node:fs';
import { join, resolve } from 'node:path';

const [from, to, count, first = '0'] = process.argv.slice(2);
if (!from || !to || !(Number(count) > 0) || !(Number(first) >= 0) || !existsSync(from)) {
  console.error('usage: node tools/subset.mjs FROM TO IMAGES-A-CLASS [FIRST]');
  process.exit(2);
}
const made = `${to}.making`;
rmSync(made, { recursive: true, force: true });
for (const name of readdirSync(from)) {
  mkdirSync(join(made, name), { recursive: true });
  for (const file of readdirSync(join(from, name)).sort().slice(Number(first), Number(first) + Number(count))) symlinkSync(resolve(from, name, file), join(made, name, file));
}
rmSync(to, { recursive: true, force: true });
renameSync(made, to);
console.log(`${to}: ${readdirSync(to).length} classes of ${count} images`);
