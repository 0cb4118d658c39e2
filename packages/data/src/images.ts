import { createHash } from 'node:crypto';
import { closeSync, fstatSync, openSync, readSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { fail } from '@bitloom/diagnostics';
import sharp from 'sharp';
import { readBounded, unreadable } from './files.js';
import { type Preprocessing, imageMapping } from './preprocess.js';
import type { Raster } from './raster.js';
import { makeSource } from './source.js';
import type { DataSource, InputSpec } from './types.js';

const IMAGE = /\.(jpe?g|png)$/i;
const MAX_IMAGE_BYTES = 2 ** 28;
const MAX_LABELS_BYTES = 2 ** 26;
const MAX_PIXELS = 2 ** 26;
/** Images decoded at the same time. */
const READ_AHEAD = 8;
/** Files up to this size are hashed whole; of larger ones, a window at either end. */
const HASH_WINDOW = 1 << 15;

interface Item {
  /** Path inside the folder, `/` between its parts. */
  readonly file: string;
  readonly label?: number;
}

function list(folder: string): { files: string[]; folders: string[] } {
  const files: string[] = [];
  const folders: string[] = [];
  try {
    for (const entry of readdirSync(folder, { withFileTypes: true })) {
      if (entry.name.startsWith('.')) continue;
      const info = entry.isSymbolicLink() ? statSync(join(folder, entry.name), { throwIfNoEntry: false }) : entry;
      if (info?.isDirectory()) folders.push(entry.name);
      else if (info?.isFile()) files.push(entry.name);
    }
  } catch (error) {
    unreadable(folder, error);
  }
  return { files: files.sort(), folders: folders.sort() };
}

/** Images of a folder in sorted order, labelled where class folders say so; `csv` tells of a `labels.csv` beside them. */
function scan(root: string): { items: Item[]; classes?: string[]; csv?: boolean } {
  const top = list(root);
  const flat = top.files.filter((f) => IMAGE.test(f));
  const perClass = top.folders.map((folder) => list(join(root, folder)).files.filter((f) => IMAGE.test(f)).map((f) => `${folder}/${f}`));
  if (perClass.some((files) => files.length > 0)) {
    if (flat.length > 0) {
      fail('E301', 'folder holds both images and class folders', {
        node: root,
        found: flat[0],
        expected: 'images in class folders, or images alone',
      });
    }
    return { items: perClass.flatMap((files, label) => files.map((file) => ({ file, label }))), classes: top.folders };
  }
  return { items: flat.map((file) => ({ file })), csv: top.files.includes('labels.csv') };
}

/** `labels.csv`: a header with `file` and `class_index` (or `label`, `class`), or two columns without a header. */
function parseLabels(text: string, path: string): Map<string, number> {
  const rows = text
    .split(/\r?\n/)
    .filter((line) => line.trim() !== '')
    .map((line) => line.split(',').map((cell) => cell.trim().replace(/^"(.*)"$/, '$1')));
  const isIndex = (cell: string | undefined): boolean => /^\d{1,9}$/.test(cell ?? '');
  let fileColumn = 0;
  let labelColumn = 1;
  if (rows.length > 0 && !isIndex(rows[0][1])) {
    const header = rows.shift()!;
    fileColumn = header.indexOf('file');
    labelColumn = header.findIndex((name) => ['class_index', 'label', 'class'].includes(name));
    if (fileColumn < 0 || labelColumn < 0) {
      fail('E301', 'labels.csv lacks a column', {
        node: path,
        found: header.join(','),
        expected: 'file and class_index',
      });
    }
  }
  const labels = new Map<string, number>();
  for (const row of rows) {
    if (!isIndex(row[labelColumn])) fail('E301', 'labels.csv has a row without a class index', { node: path, found: row.join(',') });
    labels.set(row[fileColumn], Number(row[labelColumn]));
  }
  return labels;
}

/** Names, sizes and bytes; of files above 64 KiB the first and last 32 KiB. */
function fingerprintOf(root: string, files: readonly string[]): string {
  const hash = createHash('sha256');
  const buffer = Buffer.alloc(2 * HASH_WINDOW);
  for (const file of files) {
    const path = join(root, file);
    try {
      const handle = openSync(path, 'r');
      try {
        const { size } = fstatSync(handle);
        hash.update(`${file}\0${size}\0`);
        let n = readSync(handle, buffer, 0, size > buffer.length ? HASH_WINDOW : buffer.length, 0);
        if (size > buffer.length) n += readSync(handle, buffer, n, HASH_WINDOW, size - HASH_WINDOW);
        hash.update(buffer.subarray(0, n));
      } finally {
        closeSync(handle);
      }
    } catch (error) {
      unreadable(path, error);
    }
  }
  return hash.digest('hex');
}

/**
 * 8-bit RGB pixels of a JPEG or PNG file as stored: no colour profile, no EXIF rotation, transparency dropped (what
 * Pillow's `convert('RGB')` and torchvision give).
 * @throws E301 when the file is neither, is damaged, or has more than 2^26 pixels.
 */
async function decode(path: string): Promise<Raster> {
  const bytes = await readBounded(path, MAX_IMAGE_BYTES);
  const isJpeg = bytes[0] === 0xff && bytes[1] === 0xd8;
  const isPng = bytes[0] === 0x89 && bytes[1] === 0x50 && bytes[2] === 0x4e && bytes[3] === 0x47;
  if (!isJpeg && !isPng) {
    fail('E301', 'not a JPEG or PNG image', {
      node: path,
      found: `bytes ${Buffer.from(bytes.subarray(0, 4)).toString('hex')}`,
    });
  }
  try {
    const { data, info } = await sharp(bytes, { failOn: 'error', limitInputPixels: MAX_PIXELS, ignoreIcc: true })
      .toColourspace('srgb')
      .removeAlpha()
      .raw()
      .toBuffer({ resolveWithObject: true });
    return { width: info.width, height: info.height, channels: info.channels as 1 | 3, data };
  } catch (error) {
    return unreadable(path, error, 'the image is damaged or too large; remove or replace it');
  }
}

/**
 * A folder of JPEG and PNG images, in sorted order:
 * - class folders (ImageFolder): subfolders by sorted name are classes 0, 1, …; samples come class by class, so take
 *   subsets with `subset`, not as the first N;
 * - flat, with `labels.csv` beside the images naming each file's class index;
 * - flat, without labels.
 */
export async function openImages(root: string, input: InputSpec, pre: Preprocessing): Promise<DataSource> {
  const found = scan(root);
  let { items } = found;
  if (found.csv) {
    const path = join(root, 'labels.csv');
    const table = parseLabels(new TextDecoder().decode(await readBounded(path, MAX_LABELS_BYTES)), path);
    items = items.map(({ file }) => ({
      file,
      label: table.get(file) ?? fail('E301', 'labels.csv has no row for an image', { node: path, expected: file }),
    }));
  }
  if (items.length === 0) {
    fail('E303', 'the data set is empty', {
      node: root,
      found: 'no .jpg, .jpeg or .png files',
      expected: 'images, or one folder of images per class',
    });
  }
  const map = imageMapping(input, pre);
  const hashed = [...items.map((i) => i.file), ...(found.csv ? ['labels.csv'] : [])];
  return makeSource(
    {
      kind: 'images',
      size: items.length,
      labelled: items[0].label !== undefined,
      classes: found.classes,
      fingerprint: () => fingerprintOf(root, hashed),
    },
    async (index) => {
      const path = join(root, items[index].file);
      return { inputs: new Map([[input.name, map(await decode(path), path)]]), label: items[index].label };
    },
    READ_AHEAD,
  );
}
