/** Steps whose results are kept in files, each with the hash of all that it was made from. */
import { createHash } from 'node:crypto';
import { readdirSync, rmSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { writeFileAtomic } from '@bitloom/bundle';

export const hashOf = (value: unknown): string => createHash('sha256').update(JSON.stringify(value)).digest('hex');
export const jsonText = (value: unknown): string => `${JSON.stringify(value, null, 2)}\n`;

/** A JSON file; null where there is none that can be read. */
export async function readJson(path: string): Promise<unknown> {
  try {
    return JSON.parse(await readFile(path, 'utf8'));
  } catch {
    return null;
  }
}

/** The kept result of a step, if it was made from the same. */
export async function kept<T>(file: string, key: string): Promise<T | null> {
  const found = (await readJson(file)) as { key?: unknown; value?: T } | null;
  return found?.key === key ? (found.value ?? null) : null;
}

/** Keeps a result. @returns it as it will be read */
export async function keep<T>(file: string, key: string, value: T): Promise<T> {
  const text = jsonText({ key, value });
  await writeFileAtomic(file, text);
  return (JSON.parse(text) as { value: T }).value;
}

/** Seconds of the steps of a folder, by step. Not among the results, which are the same whenever they are made. */
export const TIMES = 'times.json';
export const readTimes = async (folder: string): Promise<Record<string, number>> => ((await readJson(join(folder, TIMES))) ?? {}) as Record<string, number>;

/**
 * The result of a step in `folder`: what is kept of it, or made now, timed and kept.
 * @param make may keep its result itself, before it removes what it could be made again from
 */
export async function stage<T>(folder: string, name: string, key: string, make: (keepIt: (value: T) => Promise<void>) => Promise<T>): Promise<T> {
  const file = join(folder, `${name}.json`);
  const known = await kept<T>(file, key);
  if (known !== null) return known;
  const started = performance.now();
  const made = await make(async (value) => void (await keep(file, key, value)));
  const seconds = Math.round((performance.now() - started) / 10) / 100;
  // What was hard to get comes first: the time may get lost.
  const value = await keep(file, key, made);
  await writeFileAtomic(join(folder, TIMES), jsonText({ ...(await readTimes(folder)), [name]: seconds }));
  return value;
}

/** Names of files and folders that are written under another name first, by bundle's `writeFileAtomic` and `writeFolder`. */
const HALF_WRITTEN = /\.[0-9a-f]{12}\.(tmp|old)$/;

/** Removes what a process that was ended left half-written in a study. Synchronous, for use on the way out. */
export function abandonStudy(folder: string): void {
  const list = (at: string): { name: string; isDirectory(): boolean }[] => {
    try {
      return readdirSync(at, { withFileTypes: true });
    } catch {
      return [];
    }
  };
  const inside = ['cells', 'searches'].flatMap((part) => list(join(folder, part)).filter((e) => e.isDirectory()).map((e) => join(folder, part, e.name)));
  for (const at of [folder, ...inside]) {
    for (const { name } of list(at)) if (HALF_WRITTEN.test(name)) rmSync(join(at, name), { recursive: true, force: true });
  }
}
