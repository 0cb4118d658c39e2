#!/usr/bin/env node
/**
 * Unpacks the data folder (`BITLOOM_DATA`, default `../shared/data`) into `.cache/data`:
 *   cifar10/train/<class>/*.jpg, cifar10/test/<class>/*.jpg, onnx-node-tests/node/<case>/…
 *   speech-commands/{arm_mfcc_49x10,mlperf_mfcc_49x10}.npz: arrays `x` and `labels`, ready for --data
 * Safe to repeat and to interrupt: everything is made beside its place and renamed into it, and a stamp with the hash
 * of what it was made from tells the next run that nothing is left to do.
 */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { basename, dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { crc32, gunzipSync } from 'node:zlib';

const root = resolve(dirname(fileURLToPath(import.meta.url)), '..');
const source = resolve(root, process.env.BITLOOM_DATA || '../shared/data');
const cache = join(root, '.cache', 'data');

const say = (text) => console.log(`unpack-data: ${text}`);

/**
 * Makes `.cache/data/<to>` from files of the data folder, unless it is there and its stamp fits them.
 * @param make called with an empty folder; returns the path of what it made in there
 */
function produce(to, from, make) {
  const target = join(cache, to);
  const shown = relative(root, target);
  const files = from.map((name) => join(source, name));
  const absent = from.filter((_, i) => !existsSync(files[i]));
  if (absent.length > 0) {
    say(`${absent.join(', ')} is not in the data folder: ${shown} skipped`);
    return;
  }
  const hash = createHash('sha256');
  for (const file of files) hash.update(readFileSync(file));
  const wanted = hash.digest('hex');
  const stamp = join(dirname(target), `.${basename(target)}.sha256`);
  const done = () => existsSync(target) && existsSync(stamp) && readFileSync(stamp, 'utf8') === wanted;
  if (done()) {
    say(`${shown} is up to date`);
    return;
  }
  say(`${from.join(', ')} → ${shown}`);
  mkdirSync(dirname(target), { recursive: true });
  const staging = mkdtempSync(join(dirname(target), '.unpacking-'));
  try {
    const made = make(staging, files);
    if (done()) return; // another process was faster
    rmSync(stamp, { force: true });
    rmSync(target, { recursive: true, force: true });
    renameSync(made, target);
    writeFileSync(stamp, wanted);
  } finally {
    rmSync(staging, { recursive: true, force: true });
  }
}

/** Unpacks an archive with one folder, `top`, in it; names the remedy when `tar` or `xz` is missing. */
function extract(file, into, top) {
  const tar = spawnSync('tar', ['-xf', file, '-C', into], { encoding: 'utf8', stdio: ['ignore', 'ignore', 'pipe'] });
  if (tar.status === 0) return join(into, top);
  if (tar.error?.code === 'ENOENT') throw new Error('`tar` is not installed; install it (Debian/Ubuntu: apt-get install tar xz-utils) and run again');
  if (spawnSync('xz', ['--version']).error?.code === 'ENOENT') {
    throw new Error('`xz` is not installed; install it (Debian/Ubuntu: apt-get install xz-utils, Fedora: dnf install xz, macOS: brew install xz) and run again');
  }
  throw new Error(`tar could not unpack ${file}: ${(tar.stderr || String(tar.error)).trim()}`);
}

/** Array file of numpy, format version 1.0, little endian. */
function npy(descr, shape, data) {
  const dict = `{'descr': '${descr}', 'fortran_order': False, 'shape': (${shape.join(', ')},), }`;
  const header = Buffer.from(`${dict.padEnd(Math.ceil((dict.length + 11) / 64) * 64 - 11)}\n`, 'latin1');
  const prefix = Buffer.from([0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59, 1, 0, header.length & 255, header.length >> 8]);
  return Buffer.concat([prefix, header, Buffer.from(data.buffer, data.byteOffset, data.byteLength)]);
}

/** Zip archive with stored entries, as `numpy.savez` writes. */
function npz(arrays) {
  const locals = [];
  const directory = [];
  let offset = 0;
  for (const [name, bytes] of Object.entries(arrays)) {
    const file = Buffer.from(`${name}.npy`);
    const fields = Buffer.alloc(26); // shared by both headers: version, flags, method, time, date, crc, sizes, name length, extra length
    fields.writeUInt16LE(20, 0);
    fields.writeUInt16LE(33, 8); // 1980-01-01
    fields.writeUInt32LE(crc32(bytes), 10);
    fields.writeUInt32LE(bytes.length, 14);
    fields.writeUInt32LE(bytes.length, 18);
    fields.writeUInt16LE(file.length, 22);
    const local = Buffer.concat([Buffer.from('PK\x03\x04'), fields, file, bytes]);
    const rest = Buffer.alloc(14); // comment length, disk, attributes, offset
    rest.writeUInt32LE(offset, 10);
    directory.push(Buffer.concat([Buffer.from('PK\x01\x02\x14\x00', 'latin1'), fields, rest, file]));
    locals.push(local);
    offset += local.length;
  }
  const end = Buffer.alloc(18);
  end.writeUInt16LE(locals.length, 4);
  end.writeUInt16LE(locals.length, 6);
  end.writeUInt32LE(Buffer.concat(directory).length, 8);
  end.writeUInt32LE(offset, 12);
  return Buffer.concat([...locals, ...directory, Buffer.from('PK\x05\x06'), end]);
}

/** Features and one column of `labels.csv` as an npz file. */
function speech(into, [features, labels], column, shape, decode) {
  const rows = readFileSync(labels, 'utf8').trim().split(/\r?\n/).map((line) => line.split(','));
  const at = rows[0].indexOf(column);
  const classes = Int32Array.from(rows.slice(1), (row) => Number(row[at]));
  const x = decode(new Uint8Array(gunzipSync(readFileSync(features))));
  const n = x.length / shape.reduce((a, b) => a * b);
  if (at < 0 || n !== classes.length) throw new Error(`${features} holds ${n} rows, labels.csv ${classes.length} of ${column}`);
  const file = join(into, 'made.npz');
  writeFileSync(file, npz({ labels: npy('<i4', [n], classes), x: npy('<f4', [n, ...shape], x) }));
  return file;
}

/** Real value of EEMBC's int8 features: 0.5847029089927673 · (q − 83). */
const dequantise = (bytes) => Float32Array.from(new Int8Array(bytes.buffer), (q) => Math.fround(0.5847029089927673) * (q - 83));

try {
  if (existsSync(source)) {
    produce('cifar10/train', ['datasets/cifar10/train-jpeg-50000.tar.xz'], (into, [file]) => extract(file, into, 'train'));
    produce('cifar10/test', ['datasets/cifar10/test-jpeg-5400.tar.xz'], (into, [file]) => extract(file, into, 'test'));
    produce('onnx-node-tests/node', ['onnx-node-tests.tar.xz'], (into, [file]) => extract(file, into, 'node'));
    const folder = 'datasets/speech-commands';
    produce('speech-commands/arm_mfcc_49x10.npz', [`${folder}/arm_mfcc_49x10_f32.bin.gz`, `${folder}/labels.csv`], (into, files) =>
      speech(into, files, 'arm_class', [490], (bytes) => new Float32Array(bytes.buffer)),
    );
    produce('speech-commands/mlperf_mfcc_49x10.npz', [`${folder}/mlperf_mfcc_49x10_i8.bin.gz`, `${folder}/labels.csv`], (into, files) =>
      speech(into, files, 'mlperf_class', [49, 10, 1], dequantise),
    );
  } else if (process.env.BITLOOM_DATA) throw new Error(`BITLOOM_DATA names ${source}, which does not exist`);
  else say(`no data folder at ${source}; set BITLOOM_DATA to its place (tests that need it skip)`);
} catch (error) {
  console.error(`unpack-data: ${error.message}`);
  process.exitCode = 1;
}
