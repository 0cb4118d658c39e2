#!/usr/bin/env node
/**
 * Unpacks the `.tar.xz` archives of the data folder (`BITLOOM_DATA`, default `../shared/data`) into `.cache/data`:
 *   cifar10/train/<class>/*.jpg, cifar10/test/<class>/*.jpg, onnx-node-tests/node/<case>/…
 * Safe to repeat and to interrupt: an archive is unpacked beside its place and renamed into it, and a stamp with the
 * archive's hash tells the next run that nothing is left to do.
 */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = resolve(dirname(fileURLToPath(import.meta.url)), '..');
const source = resolve(root, process.env.BITLOOM_DATA || '../shared/data');
const cache = join(root, '.cache', 'data');

/** Archive, the one folder at its top, and where that folder goes. */
const ARCHIVES = [
  { archive: 'datasets/cifar10/train-jpeg-50000.tar.xz', top: 'train', to: 'cifar10/train' },
  { archive: 'datasets/cifar10/test-jpeg-5400.tar.xz', top: 'test', to: 'cifar10/test' },
  { archive: 'onnx-node-tests.tar.xz', top: 'node', to: 'onnx-node-tests/node' },
];

const say = (text) => console.log(`unpack-data: ${text}`);

/** @throws with a sentence that names the remedy when `tar` or `xz` is missing. */
function extract(file, into) {
  const tar = spawnSync('tar', ['-xf', file, '-C', into], { encoding: 'utf8', stdio: ['ignore', 'ignore', 'pipe'] });
  if (tar.status === 0) return;
  if (tar.error?.code === 'ENOENT') throw new Error('`tar` is not installed; install it (Debian/Ubuntu: apt-get install tar xz-utils) and run again');
  if (spawnSync('xz', ['--version']).error?.code === 'ENOENT') {
    throw new Error('`xz` is not installed; install it (Debian/Ubuntu: apt-get install xz-utils, Fedora: dnf install xz, macOS: brew install xz) and run again');
  }
  throw new Error(`tar could not unpack ${file}: ${(tar.stderr || String(tar.error)).trim()}`);
}

function unpack({ archive, top, to }) {
  const file = join(source, archive);
  const target = join(cache, to);
  const shown = relative(root, target);
  if (!existsSync(file)) {
    say(`${archive} is not in the data folder, skipped`);
    return;
  }
  const stamp = join(dirname(target), `.${top}.sha256`);
  const hash = createHash('sha256').update(readFileSync(file)).digest('hex');
  const done = () => existsSync(target) && existsSync(stamp) && readFileSync(stamp, 'utf8') === hash;
  if (done()) {
    say(`${shown} is up to date`);
    return;
  }
  say(`${archive} → ${shown}`);
  mkdirSync(dirname(target), { recursive: true });
  const staging = mkdtempSync(join(dirname(target), '.unpacking-'));
  try {
    extract(file, staging);
    if (done()) return; // another process was faster
    rmSync(stamp, { force: true });
    rmSync(target, { recursive: true, force: true });
    renameSync(join(staging, top), target);
    writeFileSync(stamp, hash);
  } finally {
    rmSync(staging, { recursive: true, force: true });
  }
}

try {
  if (existsSync(source)) ARCHIVES.forEach(unpack);
  else if (process.env.BITLOOM_DATA) throw new Error(`BITLOOM_DATA names ${source}, which does not exist`);
  else say(`no data folder at ${source}; set BITLOOM_DATA to its place (tests that need it skip)`);
} catch (error) {
  console.error(`unpack-data: ${error.message}`);
  process.exitCode = 1;
}
