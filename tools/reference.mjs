/** The reference network of the measurements on real data, cifar10_resnet20_jpeg of the data folder (BITLOOM_DATA, default ../shared/data), and its images. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { root } from './setup.mjs';

const data = process.env.BITLOOM_DATA || join(root, '..', 'shared', 'data');
const images = join(root, '.cache', 'data', 'cifar10');

export const model = join(data, 'models', 'cifar10_resnet20_jpeg.onnx');
/** Folders of images, one folder a class, as `tools/unpack-data.mjs` leaves them. */
export const [train, test] = [join(images, 'train'), join(images, 'test')];
export const preprocessing = ['--mean', '.485,.456,.406', '--std', '.229,.224,.225'];
export const percent = (x) => `${x.toFixed(2)} %`;

if (!existsSync(model) || !existsSync(images)) {
  console.error(`no data folder at ${data}, or it is not unpacked; set BITLOOM_DATA and run node tools/unpack-data.mjs`);
  process.exit(1);
}

/** The command line's words, all of which are among `known`; a wrong one ends the process. */
export function words(known) {
  const given = process.argv.slice(2);
  const wrong = given.find((w) => !known.includes(w));
  if (wrong === undefined) return given;
  console.error(`${wrong} is none of ${known.join(', ')}`);
  return process.exit(2);
}
