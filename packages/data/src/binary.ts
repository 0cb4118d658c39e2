import { existsSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { fail } from '@bitloom/diagnostics';
import { gunzipIfNeeded, readBounded } from './files.js';
import { type Preprocessing, imageMapping } from './preprocess.js';
import { makeSource, sha256 } from './source.js';
import type { DataSource, InputSpec } from './types.js';

const IDX_IMAGES = 0x00000803;
const IDX_LABELS = 0x00000801;

/** An IDX file of bytes (LeCun's MNIST format): magic number, big-endian sizes, elements. */
async function readIdx(path: string, magic: number, packed: Uint8Array): Promise<{ dims: number[]; data: Uint8Array }> {
  const bytes = await gunzipIfNeeded(packed, path);
  const rank = magic & 255;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const header = 4 + 4 * rank;
  if (bytes.length < header || view.getUint32(0) !== magic) {
    fail('E301', 'not an IDX file of bytes', {
      node: path,
      found: Buffer.from(bytes.subarray(0, 4)).toString('hex') || 'nothing',
      expected: `magic number ${magic.toString(16).padStart(8, '0')}`,
    });
  }
  const dims = Array.from({ length: rank }, (_, i) => view.getUint32(4 + 4 * i));
  const expected = dims.reduce((a, b) => a * b, 1);
  if (bytes.length - header !== expected) {
    fail('E301', 'IDX file is damaged', {
      node: path,
      found: `${bytes.length - header} bytes`,
      expected: `${expected} for [${dims.join(', ')}]`,
    });
  }
  return { dims, data: bytes.subarray(header) };
}

/** Labels lie beside the images under the name with `labels-idx1` for `images-idx3`, gzipped or not. */
function idxLabelsPath(images: string): string | undefined {
  const name = basename(images);
  const labels = name.replace('images-idx3', 'labels-idx1').replace('images.idx3', 'labels.idx1');
  if (labels === name) return undefined;
  const plain = join(dirname(images), labels.replace(/\.gz$/, ''));
  return [plain, `${plain}.gz`].find((path) => existsSync(path));
}

/** Gray images of the MNIST family, `*-images-idx3-ubyte[.gz]`, with their labels file where there is one. */
export async function openIdx(path: string, input: InputSpec, pre: Preprocessing): Promise<DataSource> {
  const file = await readBounded(path);
  const { dims, data } = await readIdx(path, IDX_IMAGES, file);
  const [size, height, width] = dims;
  if (size === 0 || width * height === 0) fail('E303', 'the data set is empty', { node: path, found: `[${dims.join(', ')}]` });
  const labelsPath = idxLabelsPath(path);
  const labelsFile = labelsPath ? await readBounded(labelsPath) : undefined;
  const labels = labelsPath && labelsFile ? (await readIdx(labelsPath, IDX_LABELS, labelsFile)).data : undefined;
  if (labels && labels.length !== size) {
    fail('E302', 'labels do not match the samples', {
      node: labelsPath,
      found: `${labels.length} labels`,
      expected: `${size}`,
    });
  }
  const map = imageMapping(input, pre);
  const parts = [basename(path), '\0', file, ...(labelsPath && labelsFile ? [basename(labelsPath), '\0', labelsFile] : [])];
  return makeSource({ kind: 'idx', size, labelled: labels !== undefined, fingerprint: sha256(...parts) }, (index) => {
    const pixels = data.subarray(index * width * height, (index + 1) * width * height);
    return { inputs: new Map([[input.name, map({ width, height, channels: 1, data: pixels }, `${path} #${index}`)]]), label: labels?.[index] };
  });
}

const CIFAR_CLASSES = ['airplane', 'automobile', 'bird', 'cat', 'deer', 'dog', 'frog', 'horse', 'ship', 'truck'];
const CIFAR_PLANE = 32 * 32;
const CIFAR_RECORD = 1 + 3 * CIFAR_PLANE;

/** CIFAR-10 binary: records of one label byte and 32×32 pixels, all red, all green, all blue. */
export async function openCifar10(path: string, input: InputSpec, pre: Preprocessing): Promise<DataSource> {
  const file = await readBounded(path);
  const data = await gunzipIfNeeded(file, path);
  if (data.length === 0) fail('E303', 'the data set is empty', { node: path, found: '0 bytes' });
  if (data.length % CIFAR_RECORD !== 0) {
    fail('E301', 'not a CIFAR-10 binary file, or cut short', {
      node: path,
      found: `${data.length} bytes`,
      expected: `a multiple of ${CIFAR_RECORD}`,
    });
  }
  const size = data.length / CIFAR_RECORD;
  for (let i = 0; i < size; i++) {
    const label = data[i * CIFAR_RECORD];
    if (label > 9) fail('E301', 'not a CIFAR-10 binary file', { node: path, found: `label ${label} at record ${i}`, expected: '0 to 9' });
  }
  const map = imageMapping(input, pre);
  const fingerprint = sha256(basename(path), '\0', file);
  return makeSource({ kind: 'cifar10', size, labelled: true, classes: CIFAR_CLASSES, fingerprint }, (index) => {
    const record = data.subarray(index * CIFAR_RECORD, (index + 1) * CIFAR_RECORD);
    const pixels = new Uint8Array(3 * CIFAR_PLANE);
    for (let i = 0; i < CIFAR_PLANE; i++) for (let c = 0; c < 3; c++) pixels[3 * i + c] = record[1 + c * CIFAR_PLANE + i];
    return { inputs: new Map([[input.name, map({ width: 32, height: 32, channels: 3, data: pixels }, `${path} #${index}`)]]), label: record[0] };
  });
}
