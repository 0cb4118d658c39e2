import { BitloomError, fail } from '@bitloom/diagnostics';
import { Inflate, zipSync } from 'fflate';
import { readNpy, writeNpy } from './npy.js';
import type { Tensor } from './tensor.js';

const MAX_ENTRIES = 4096;
/** Compressed bytes given to the decompressor at a time; bounds what one step can produce before it is checked. */
const CHUNK = 1 << 14;

const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, i) => {
  let c = i;
  for (let k = 0; k < 8; k++) c = c & 1 ? (c >>> 1) ^ 0xedb88320 : c >>> 1;
  return c;
});

/** CRC-32 of ISO 3309, as zip uses it. */
function crc32(bytes: Uint8Array): number {
  let c = 0xffffffff;
  for (let i = 0; i < bytes.length; i++) c = CRC_TABLE[(c ^ bytes[i]) & 255] ^ (c >>> 8);
  return ~c >>> 0;
}

interface Entry {
  readonly name: string;
  readonly deflated: boolean;
  readonly crc: number;
  readonly size: number;
  readonly packed: Uint8Array;
}

/** Entries by the central directory (APPNOTE.TXT 6.3.10, 4.3.12 and 4.3.16); every offset is checked. */
function readDirectory(bytes: Uint8Array, maxBytes: number): Entry[] {
  const bad = (message: string, node?: string): never => fail('E301', `npz: ${message}`, {
    node,
    expected: 'a zip archive of .npy files, as numpy.savez writes',
  });
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let end = bytes.length - 22;
  const first = Math.max(0, end - 0xffff);
  while (end >= first && view.getUint32(end, true) !== 0x06054b50) end--;
  if (end < first) bad('not a zip archive, or cut short');
  const count = view.getUint16(end + 10, true);
  let at = view.getUint32(end + 16, true);
  if (count === 0xffff || at === 0xffffffff) bad('zip64 archives are not read');
  if (count > MAX_ENTRIES) bad(`more than ${MAX_ENTRIES} arrays`);

  const entries: Entry[] = [];
  let total = 0;
  for (let i = 0; i < count; i++) {
    if (at + 46 > end || view.getUint32(at, true) !== 0x02014b50) bad('the archive directory is damaged');
    const flags = view.getUint16(at + 8, true);
    const method = view.getUint16(at + 10, true);
    const packedSize = view.getUint32(at + 20, true);
    const size = view.getUint32(at + 24, true);
    const nameLength = view.getUint16(at + 28, true);
    const local = view.getUint32(at + 42, true);
    const next = at + 46 + nameLength + view.getUint16(at + 30, true) + view.getUint16(at + 32, true);
    if (next > end) bad('the archive directory is damaged');
    const name = new TextDecoder(flags & 0x800 ? 'utf-8' : 'latin1').decode(bytes.subarray(at + 46, at + 46 + nameLength));
    if (flags & 1) bad('encrypted entries are not read', name);
    if (method !== 0 && method !== 8) bad(`compression method ${method} is not read`, name);
    if (size === 0xffffffff || packedSize === 0xffffffff || local === 0xffffffff) bad('arrays above 4 GiB are not read', name);
    total += size;
    if (total > maxBytes) bad(`unpacks to more than ${maxBytes} bytes`, name);
    if (local + 30 > end || view.getUint32(local, true) !== 0x04034b50) bad('an entry is damaged', name);
    const start = local + 30 + view.getUint16(local + 26, true) + view.getUint16(local + 28, true);
    if (start + packedSize > end || (method === 0 && packedSize !== size)) bad('an entry is cut short', name);
    entries.push({ name, deflated: method === 8, crc: view.getUint32(at + 16, true), size, packed: bytes.subarray(start, start + packedSize) });
    at = next;
  }
  return entries;
}

function unpack(entry: Entry): Uint8Array {
  const bad = (cause?: unknown): never => fail('E301', `npz: ${entry.name} is damaged`, {
    node: entry.name,
    expected: `${entry.size} bytes with checksum ${entry.crc}`,
  }, cause);
  let out = entry.packed;
  if (entry.deflated) {
    out = new Uint8Array(entry.size);
    let length = 0;
    const inflate = new Inflate((chunk) => {
      if (length + chunk.length > entry.size) bad();
      out.set(chunk, length);
      length += chunk.length;
    });
    try {
      for (let i = 0; i < entry.packed.length; i += CHUNK) inflate.push(entry.packed.subarray(i, i + CHUNK), i + CHUNK >= entry.packed.length);
    } catch (error) {
      if (error instanceof BitloomError) throw error;
      bad(error);
    }
    if (length !== entry.size) bad();
  }
  return crc32(out) === entry.crc ? out : bad();
}

/**
 * Arrays of an `.npz` archive by name (without `.npy`), sorted by name. Stored and deflated entries are read.
 * @param options.maxBytes bound on the sum of the declared unpacked sizes, checked before anything is unpacked
 * @throws E301 when the archive is damaged, too large, zip64, encrypted, or holds something other than plain arrays;
 *   E206 when a shape is too large.
 */
export function readNpz(bytes: Uint8Array, options: { maxBytes?: number } = {}): ReadonlyMap<string, Tensor> {
  const arrays: [string, Tensor][] = [];
  const seen = new Set<string>();
  for (const entry of readDirectory(bytes, options.maxBytes ?? 2 ** 31)) {
    if (!entry.name.endsWith('.npy')) {
      fail('E301', `npz: ${entry.name} is not a numpy array`, {
        node: entry.name,
        expected: 'entries that end in .npy',
      });
    }
    const name = entry.name.slice(0, -4);
    if (seen.has(name)) fail('E301', `npz: two arrays are called ${name}`, { node: name });
    seen.add(name);
    arrays.push([name, readNpy(unpack(entry), name)]);
  }
  return new Map(arrays.sort(([a], [b]) => (a < b ? -1 : 1)));
}

/**
 * `.npz` bytes; the same arrays always give the same bytes (sorted names, fixed time stamps).
 * @param options.compress deflate the entries (as `numpy.savez_compressed`) instead of storing them
 */
export function writeNpz(arrays: ReadonlyMap<string, Tensor>, options: { compress?: boolean } = {}): Uint8Array {
  const names = [...arrays.keys()].sort();
  const files = Object.fromEntries(names.map((name) => [`${name}.npy`, writeNpy(arrays.get(name)!)]));
  // Local midnight of the first day zip can express, whatever the time zone.
  return zipSync(files, { level: options.compress ? 6 : 0, mtime: '1980-01-01T00:00:00' });
}
