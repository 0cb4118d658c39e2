import { open, stat } from 'node:fs/promises';
import { fail } from '@bitloom/diagnostics';
import { openCifar10, openIdx } from './binary.js';
import { unreadable } from './files.js';
import { openImages } from './images.js';
import { openNpz } from './npz.js';
import { type Preprocessing, parsePreprocessing } from './preprocess.js';
import type { DataSource, InputSpec } from './types.js';

const KINDS = ['npz', 'images', 'idx', 'cifar10'] as const;
type Kind = (typeof KINDS)[number];

/** `images:DIR`, `idx:FILE`, `cifar10:FILE`, `npz:FILE`, or a bare path whose kind is found when it is opened. */
export function parseDataSpec(text: string): { kind: Kind | 'auto'; path: string } {
  const kind = KINDS.find((k) => text.startsWith(`${k}:`));
  const path = kind ? text.slice(kind.length + 1) : text;
  if (path === '') {
    fail('E301', 'no path given for the data', {
      found: JSON.stringify(text),
      expected: `PATH, or ${KINDS.map((k) => `${k}:PATH`).join(', ')}`,
    });
  }
  return { kind: kind ?? 'auto', path };
}

/** By what is there: a folder, the file's name, its first bytes. */
async function guess(path: string): Promise<Kind> {
  const remedy = `give an existing path, or ${KINDS.map((k) => `${k}:PATH`).join(', ')}`;
  const info = await stat(path).catch((error: unknown) => unreadable(path, error, remedy));
  if (info.isDirectory()) return 'images';
  if (/\.npz$/i.test(path)) return 'npz';
  if (/idx3/i.test(path)) return 'idx';
  const handle = await open(path).catch((error: unknown) => unreadable(path, error));
  try {
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(4), 0, 4, 0);
    const start = buffer.subarray(0, bytesRead).toString('hex');
    if (start === '504b0304') return 'npz';
    if (start === '00000803') return 'idx';
  } finally {
    await handle.close();
  }
  if (/\.bin(\.gz)?$/i.test(path)) return 'cifar10';
  return fail('E301', 'kind of data not recognised', {
    node: path,
    expected: `a folder of images, .npz, IDX or CIFAR-10 binary`,
    remedy: `name it: ${KINDS.map((k) => `${k}:${path}`).join(', ')}`,
  });
}

/**
 * Opens a data set for a model.
 * @param spec see {@link parseDataSpec}
 * @param inputs the model's inputs, full shapes with the batch dimension first; all but npz need exactly one
 * @throws E301 unreadable or corrupt, E302 does not fit the model, E303 empty, E102 invalid preprocessing.
 */
export async function openData(spec: string, inputs: readonly InputSpec[], pre: Preprocessing = {}): Promise<DataSource> {
  const { kind, path } = parseDataSpec(spec);
  const checked = parsePreprocessing(pre);
  const actual = kind === 'auto' ? await guess(path) : kind;
  if (actual === 'npz') return probed(await openNpz(path, inputs, checked));
  if (inputs.length !== 1) {
    fail('E302', 'images feed models with one input', {
      node: path,
      found: `${inputs.length} inputs: ${inputs.map((i) => i.name).join(', ')}`,
      remedy: 'use an npz file with one array per input',
    });
  }
  const opener = { images: openImages, idx: openIdx, cifar10: openCifar10 }[actual];
  return probed(await opener(path, inputs[0], checked));
}

/** Makes one sample, so that what does not fit the model is told now and not in the middle of a run. */
async function probed(source: DataSource): Promise<DataSource> {
  await source.samples([0])[Symbol.asyncIterator]().next();
  return source;
}
