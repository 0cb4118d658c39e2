/**
 * Accuracy of bundles against their float models on the labelled data of the data folder (BITLOOM_DATA, default ../shared/data):
 *
 *   node tools/accuracy.mjs                 W8A8 of every labelled CNN and MLP
 *   node tools/accuracy.mjs resnet20        the reference network at several budgets
 *   node tools/accuracy.mjs --only NAME …   some rows
 *
 * Needs `npm start` (or `npx tsc -b`) and `node tools/unpack-data.mjs` first. Calibration and search see calibration data only; where the folder has
 * no training set for a model, its labelled samples are split in two once and for all.
 */
import { copyFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { bitloom, root } from './setup.mjs';

const data = process.env.BITLOOM_DATA ?? join(root, '..', 'shared', 'data');
const cache = join(root, '.cache', 'data');
const out = join(root, '.cache', 'accuracy');
if (!existsSync(join(data, 'models'))) {
  console.error(`no data folder at ${data}; set BITLOOM_DATA`);
  process.exit(1);
}

const { readNpz, writeNpz } = await import('../packages/tensor/dist/index.js');

/** Every `n`-th sample of a labelled npz to calibrate on, the others to measure on. */
function splitNpz(name, every) {
  const arrays = readNpz(readFileSync(join(cache, 'speech-commands', `${name}.npz`)));
  const count = [...arrays.values()][0].shape[0];
  const take = (keep) => {
    const picked = Array.from({ length: count }, (_, i) => i).filter(keep);
    return writeNpz(new Map([...arrays].map(([key, t]) => {
      const size = t.data.length / count;
      const part = new t.data.constructor(picked.length * size);
      picked.forEach((i, k) => part.set(t.data.subarray(i * size, (i + 1) * size), k * size));
      return [key, { dtype: t.dtype, shape: [picked.length, ...t.shape.slice(1)], data: part }];
    })));
  };
  mkdirSync(out, { recursive: true });
  const [calib, test] = ['calib', 'test'].map((part) => join(out, `${name}-${part}.npz`));
  writeFileSync(calib, take((i) => i % every === 0));
  writeFileSync(test, take((i) => i % every !== 0));
  return { calib: `npz:${calib}`, test: `npz:${test}` };
}

/** The same for a flat folder with labels.csv. */
function splitImages(folder, every) {
  const from = join(data, 'datasets', folder);
  const [header, ...rows] = readFileSync(join(from, 'labels.csv'), 'utf8').trim().split('\n');
  const parts = { calib: rows.filter((_, i) => i % every === 0), test: rows.filter((_, i) => i % every !== 0) };
  for (const [part, list] of Object.entries(parts)) {
    const to = join(out, `${folder}-${part}`);
    mkdirSync(to, { recursive: true });
    writeFileSync(join(to, 'labels.csv'), `${[header, ...list].join('\n')}\n`);
    for (const row of list) copyFileSync(join(from, row.split(',')[0]), join(to, row.split(',')[0]));
  }
  return { calib: `images:${join(out, `${folder}-calib`)}`, test: `images:${join(out, `${folder}-test`)}` };
}

const cifarMean = ['--mean', '.485,.456,.406', '--std', '.229,.224,.225'];
const lossless = { calib: `cifar10:${join(data, 'datasets/cifar10/train-lossless-0000-3999.bin.gz')}`, test: `cifar10:${join(data, 'datasets/cifar10/test-lossless-0000-0599.bin.gz')}` };
const jpeg = { calib: `images:${join(cache, 'cifar10/train')}`, test: `images:${join(cache, 'cifar10/test')}` };
const mnist = { calib: `idx:${join(data, 'datasets/mnist/train-images-idx3-ubyte.gz')}`, test: `idx:${join(data, 'datasets/mnist/t10k-first6000-images-idx3-ubyte.gz')}` };
const lazy = (make) => {
  let made;
  return () => (made ??= make());
};
const arm = lazy(() => splitNpz('arm_mfcc_49x10', 4));
const mlperf = lazy(() => splitNpz('mlperf_mfcc_49x10', 4));
const imagenet = lazy(() => splitImages('imagenet-sample-224', 5));

/** model, data, preprocessing flags, flags of eval */
const MODELS = [
  ['cifar10_resnet20_jpeg', () => jpeg, cifarMean],
  ['cifar10_resnet20', () => lossless, cifarMean],
  ['cifar10_resnet56', () => lossless, cifarMean],
  ['mlperf_ic_resnet8', () => lossless, ['--scale', '1']],
  ['mobilenet_v1_0.25_224', imagenet, ['--mean', '.5', '--std', '.5'], ['--label-offset', '-1']],
  ['squeezenet1.0_deep_compression', imagenet, ['--scale', '1', '--mean', '104,117,123', '--channels', 'bgr']],
  ['arm_kws_ds_cnn_s', arm, []],
  ['arm_kws_cnn_s', arm, []],
  ['mlperf_kws_dscnn', mlperf, []],
  ['mnist-8', () => mnist, ['--scale', '1']],
  ['mnist_mlp_bn', () => mnist, []],
];

/** Rows of the reference network, rounded to nearest (see tools/rounding.mjs for more): name and flags. */
const RESNET20 = [
  ['W8A8', ['--precision', 'w8a8']],
  ['uniform W4A8', ['--precision', 'w4a8']],
  ['uniform W3A8', ['--precision', 'w3a8']],
  ['mckp bits=4', ['--budget', 'bits=4', '--activations', '8']],
  ['mckp bits=3', ['--budget', 'bits=3', '--activations', '8']],
  ['uniform W4A8, no bias correction', ['--precision', 'w4a8', '--no-bias-correction']],
  ['uniform W3A8, no bias correction', ['--precision', 'w3a8', '--no-bias-correction']],
  ['mckp bits=4, no bias correction', ['--budget', 'bits=4', '--activations', '8', '--no-bias-correction']],
  ['mckp bits=3, no bias correction', ['--budget', 'bits=3', '--activations', '8', '--no-bias-correction']],
];

const file = (model) => join(data, 'models', `${model}.onnx`);
const percent = (x) => x.toFixed(2).padStart(6);
const args = process.argv.slice(2);
const only = args[0] === '--only' ? args.slice(1) : null;

if (args[0] === 'resnet20') {
  const model = file('cifar10_resnet20_jpeg');
  const float = bitloom('eval', model, '--data', jpeg.test, ...cifarMean);
  console.log(`float                                ${percent(float.top1)} %  (${float.samples} images)`);
  for (const [name, flags] of RESNET20) {
    const folder = join(out, `resnet20-${name.replace(/[^A-Za-z0-9]+/g, '-')}`);
    const c = bitloom('compile', model, '--calib', jpeg.calib, ...cifarMean, ...flags, '--rounding', 'nearest', '-o', folder);
    const e = bitloom('eval', folder, '--data', jpeg.test);
    console.log(`${name.padEnd(36)} ${percent(e.top1)} %  ${c.bits.weights.toFixed(3)} bits, ${c.bytes.weights} bytes, search ${c.search.seconds?.toFixed(0) ?? '-'} s`);
  }
} else {
  for (const [model, source, pre, evalFlags = []] of MODELS) {
    if (only && !only.includes(model)) continue;
    const { calib, test } = source();
    const folder = join(out, model);
    const float = bitloom('eval', file(model), '--data', test, ...pre, ...evalFlags);
    const c = bitloom('compile', file(model), '--calib', calib, ...pre, '--samples', '256', '--precision', 'w8a8', '-o', folder);
    const e = bitloom('eval', folder, '--data', test, ...evalFlags);
    console.log(`${model.padEnd(32)} float ${percent(float.top1)} %   W8A8 ${percent(e.top1)} %   (${e.samples} samples, ${c.bytes.weights} bytes of weights, ${c.bytes.code} of code)`);
  }
}
