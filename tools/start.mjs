#!/usr/bin/env node
/** `npm start`: from a fresh clone to a compiled, verified and measured example network. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { cli, cCompiler, must, root, say, setUp, tsc } from './setup.mjs';

const MODEL = 'examples/shapes/model.onnx';
const DATA = '.cache/shapes';
const CALIBRATION = `${DATA}/calib.npz`;
const TEST = `${DATA}/test.npz`;
const BUNDLE = 'dist/shapes';

setUp();

say('Build (tsc -b)');
must(...tsc('packages/cli', 'examples/shapes'));

say('Draw images to calibrate and to measure on (examples/shapes)');
must(process.execPath, [join(root, 'examples/shapes/dist/make-data.js'), '--out', DATA]);

const bitloom = (...args) => {
  say(`bitloom ${args.join(' ')}`);
  must(process.execPath, [cli, ...args]);
};

const cc = cCompiler();
if (!cc) console.log('\nNo C compiler found (CC, cc, gcc, clang): the example is compiled for WebAssembly only.');

bitloom('inspect', MODEL);
bitloom('compile', MODEL, '--calib', CALIBRATION, '--budget', 'size=15%', '--target', 'wasm', ...(cc ? ['--target', 'c'] : []), '-o', BUNDLE);

const { readNpz, tensor, writeNpy } = await import(new URL('../packages/tensor/dist/index.js', import.meta.url));
const [, images] = [...readNpz(readFileSync(join(root, TEST)))].find(([name]) => name !== 'labels');
const one = images.data.length / images.shape[0];
const sample = `${DATA}/sample.npy`;
writeFileSync(join(root, sample), writeNpy(tensor(images.dtype, [1, ...images.shape.slice(1)], images.data.slice(0, one))));
bitloom('run', BUNDLE, '--input', sample);
bitloom('verify', BUNDLE);
bitloom('eval', MODEL, '--data', TEST);
bitloom('eval', BUNDLE, '--data', TEST);

say(`Done. The bundle is in ${BUNDLE}; docs/cli.md tells what else bitloom can do.`);
