import { readFile, stat } from 'node:fs/promises';
import { promisify } from 'node:util';
import { gunzip } from 'node:zlib';
import { fail } from '@bitloom/diagnostics';

const MAX_FILE = 2 ** 31 - 1;
const MAX_UNZIPPED = 2 ** 30;

const unzip = promisify(gunzip);

/** @throws E301 with the system's reason; use in `catch`. */
export function unreadable(path: string, error: unknown, remedy = 'check the path'): never {
  return fail('E301', 'data cannot be read', { node: path, found: error instanceof Error ? error.message : String(error), remedy }, error);
}

/** Whole file. @throws E301 when it cannot be read or is larger than `limit` bytes. */
export async function readBounded(path: string, limit = MAX_FILE): Promise<Uint8Array> {
  const info = await stat(path).catch((error: unknown) => unreadable(path, error));
  if (!info.isFile()) fail('E301', 'not a file', { node: path });
  if (info.size > limit) fail('E301', 'file is too large', { node: path, found: `${info.size} bytes`, expected: `at most ${limit} bytes` });
  return readFile(path).catch((error: unknown) => unreadable(path, error));
}

/** The bytes, unpacked where they are gzip. @throws E301 when the gzip stream is damaged or holds more than 1 GiB. */
export async function gunzipIfNeeded(bytes: Uint8Array, path: string): Promise<Uint8Array> {
  if (bytes[0] !== 0x1f || bytes[1] !== 0x8b) return bytes;
  return unzip(bytes, { maxOutputLength: MAX_UNZIPPED }).catch((error: unknown) =>
    unreadable(path, error, `the gzip stream is damaged, or unpacks to more than ${MAX_UNZIPPED} bytes`),
  );
}
