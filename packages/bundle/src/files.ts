/** Bundles on disk: written atomically, read with every hash checked. */
import { randomBytes } from 'node:crypto';
import { constants, existsSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { access, mkdir, readFile, readdir, rename, rm, stat, writeFile } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { BitloomError, fail } from '@bitloom/diagnostics';
import { type Manifest, parseManifest, sha256 } from './manifest.js';

export type Files = ReadonlyMap<string, Uint8Array | string>;

/** Sizes and hashes of files by path, in path order. */
export const fileTable = (files: Files): Manifest['files'] =>
  Object.fromEntries([...files].sort(([a], [b]) => (a < b ? -1 : 1)).map(([path, data]) => [path, { bytes: Buffer.byteLength(data), sha256: sha256(data) }]));

/**
 * Writes a folder as a whole: into a sibling first, then renamed; an older bundle there is replaced. Nothing is left behind on failure.
 * @throws E703 when the place cannot be written, or holds something that is not a bundle
 */
export async function writeFolder(folder: string, files: Files): Promise<void> {
  const target = resolve(folder);
  const nonce = randomBytes(6).toString('hex');
  const temp = `${target}.${nonce}.tmp`;
  const old = `${target}.${nonce}.old`;
  let made: string | undefined;
  try {
    const existing = await assertReplaceable(folder);
    made = await makeFolders(dirname(target));
    for (const [path, data] of files) {
      await makeFolders(dirname(join(temp, path)));
      await writeFile(join(temp, path), data);
    }
    if (existing) await rename(target, old);
    await rename(temp, target);
    await rm(old, { recursive: true, force: true });
  } catch (cause) {
    await rm(made ?? temp, { recursive: true, force: true }).catch(() => undefined);
    await rename(old, target).catch(() => undefined); // back in place, where it was moved and nothing took its place
    if (cause instanceof BitloomError) throw cause;
    fail('E703', 'output cannot be written', { node: folder, found: (cause as NodeJS.ErrnoException).code ?? String(cause), remedy: 'check the path and its permissions' }, cause);
  }
}

/**
 * Makes a folder and those above it. Not by mkdir's `recursive`, which tries forever below folders that take no entries, such as /proc.
 * @returns the topmost folder made, if any
 */
async function makeFolders(folder: string): Promise<string | undefined> {
  if (await stat(folder).then((s) => s.isDirectory(), () => false)) return undefined;
  const above = dirname(folder) === folder ? undefined : await makeFolders(dirname(folder));
  try {
    await mkdir(folder);
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== 'EEXIST' || !(await stat(folder)).isDirectory()) {
      if (above !== undefined) await rm(above, { recursive: true, force: true });
      throw cause;
    }
  }
  return above ?? folder;
}

/**
 * True when the place holds an empty folder or a bundle, false when it is free.
 * @throws E703 when it holds anything else, or lies below what is not a writable folder
 */
export async function assertReplaceable(folder: string): Promise<boolean> {
  const target = resolve(folder);
  const existing = await stat(target).catch(() => null);
  if (existing) {
    const names = existing.isDirectory() ? await readdir(target) : null;
    if (!names || !(names.length === 0 || (await isBundle(target)))) fail('E703', 'output exists and is not a bundle', { node: folder, remedy: 'choose another -o, or remove it' });
  }
  let parent = dirname(target);
  let info = await stat(parent).catch(() => null);
  for (; !info && parent !== dirname(parent); info = await stat(parent).catch(() => null)) parent = dirname(parent);
  const writable = info?.isDirectory() && (await access(parent, constants.W_OK).then(() => true, () => false));
  if (!writable) fail('E703', 'output cannot be written', { node: folder, found: `${parent} is not a writable folder`, remedy: 'check the path and its permissions' });
  return existing !== null;
}

/** Whether the folder has a manifest of ours, of any version: web pages have files of that name, too. */
async function isBundle(folder: string): Promise<boolean> {
  try {
    const manifest = JSON.parse(await readFile(join(folder, 'manifest.json'), 'utf8')) as { generator?: { name?: unknown } } | null;
    return manifest?.generator?.name === 'bitloom';
  } catch {
    return false;
  }
}

/** Writes one file through a temporary. @throws E703 */
export async function writeFileAtomic(path: string, data: Uint8Array | string): Promise<void> {
  const temp = `${path}.${randomBytes(6).toString('hex')}.tmp`;
  try {
    await makeFolders(dirname(resolve(path)));
    await writeFile(temp, data);
    await rename(temp, path);
  } catch (cause) {
    await rm(temp, { force: true }).catch(() => undefined);
    fail('E703', 'output cannot be written', { node: path, found: (cause as NodeJS.ErrnoException).code ?? String(cause), remedy: 'check the path and its permissions' }, cause);
  }
}

/** Undoes a {@link writeFolder} or {@link writeFileAtomic} that the process will not finish. Synchronous, for use on the way out. */
export function abandonOutput(path: string): void {
  const target = resolve(path);
  const folder = dirname(target);
  let names: string[];
  try {
    names = readdirSync(folder);
  } catch {
    return; // nothing can lie in a folder that cannot be listed
  }
  for (const name of names) {
    const part = /^\.[0-9a-f]{12}\.(tmp|old)$/.exec(name.startsWith(basename(target)) ? name.slice(basename(target).length) : '');
    if (!part) continue;
    if (part[1] === 'old' && !existsSync(target)) renameSync(join(folder, name), target);
    else rmSync(join(folder, name), { recursive: true, force: true });
  }
}

const MAX_FILE = 2 ** 31;

export interface OpenBundle {
  readonly folder: string;
  readonly manifest: Manifest;
  /** Contents of a file named in the manifest; size and hash were checked. */
  read(path: string): Promise<Uint8Array>;
}

/** Opens a bundle and checks every file against the manifest. @throws E701, E704 */
export async function openBundle(folder: string): Promise<OpenBundle> {
  const where = join(folder, 'manifest.json');
  const text = await readFile(where, 'utf8').catch((cause) => fail('E704', 'no bundle here', { node: folder, found: (cause as NodeJS.ErrnoException).code, expected: 'a folder with manifest.json', remedy: 'check the path, or compile the model' }, cause));
  const manifest = parseManifest(text, where);
  const contents = new Map<string, Uint8Array>();
  for (const [path, entry] of Object.entries(manifest.files)) {
    const full = join(folder, path);
    const info = await stat(full).catch((cause) => fail('E701', 'a file of the bundle is missing', { node: path }, cause));
    if (!info.isFile() || info.size !== entry.bytes || info.size > MAX_FILE) fail('E701', 'a file of the bundle has the wrong size', { node: path, found: info.isFile() ? `${info.size} bytes` : 'not a file', expected: `${entry.bytes} bytes`, remedy: 'compile the model again' });
    const buffer = await readFile(full).catch((cause) => fail('E704', 'a file of the bundle cannot be read', { node: path, found: (cause as NodeJS.ErrnoException).code }, cause));
    // A plain array: Buffer.slice would share memory where Uint8Array.slice copies.
    const bytes = new Uint8Array(buffer.buffer, buffer.byteOffset, buffer.length);
    if (sha256(bytes) !== entry.sha256) fail('E701', 'a file of the bundle is corrupted', { node: path, found: 'another SHA-256', expected: entry.sha256, remedy: 'compile the model again' });
    contents.set(path, bytes);
  }
  return {
    folder,
    manifest,
    read: async (path) => contents.get(path) ?? fail('E701', 'the manifest lists no such file', { node: path }),
  };
}
