/** Saved states of a run: JSON and tensors in one file whose hash is checked. */
import { createHash } from 'node:crypto';
import { fail } from '@bitloom/diagnostics';
import { DTYPES, type DType, type Tensor, bytesOf, tensor } from '@bitloom/tensor';
import { z } from 'zod';

/** A run's state, from which it goes on with the same results. */
export interface Checkpoint {
  /** JSON: what the run is, how far it came, the state of its random numbers. */
  readonly meta: unknown;
  readonly tensors: ReadonlyMap<string, Tensor>;
}

const MAGIC = 'BITLOOM CHECKPOINT 1\n';
const HASH_BYTES = 32;
const ALIGNMENT = 8;

const headerSchema = z.object({
  meta: z.unknown(),
  tensors: z.array(z.object({ name: z.string(), dtype: z.enum(Object.keys(DTYPES) as [DType, ...DType[]]), shape: z.array(z.number().int().nonnegative()) })),
});

const padded = (bytes: number): number => Math.ceil(bytes / ALIGNMENT) * ALIGNMENT;
const hashOf = (data: Uint8Array): Buffer => createHash('sha256').update(data).digest();

/** The same state gives the same bytes. */
export function encodeCheckpoint({ meta, tensors }: Checkpoint): Uint8Array {
  const all = [...tensors];
  const header = Buffer.from(JSON.stringify({ meta, tensors: all.map(([name, t]) => ({ name, dtype: t.dtype, shape: t.shape })) }));
  const start = padded(MAGIC.length + 4 + header.length);
  const size = all.reduce((n, [, t]) => n + padded(bytesOf(t).length), start);
  const out = Buffer.alloc(size + HASH_BYTES);
  out.write(MAGIC, 'latin1');
  out.writeUInt32LE(header.length, MAGIC.length);
  header.copy(out, MAGIC.length + 4);
  let at = start;
  for (const [, t] of all) {
    out.set(bytesOf(t), at);
    at += padded(bytesOf(t).length);
  }
  hashOf(out.subarray(0, size)).copy(out, size);
  return out;
}

/** @param where file, for messages @throws E706 for anything that {@link encodeCheckpoint} did not write */
export function decodeCheckpoint(data: Uint8Array, where: string): Checkpoint {
  const bytes = Buffer.from(data.buffer, data.byteOffset, data.byteLength);
  const bad = (found: string): never => fail('E706', 'not a checkpoint, or damaged', { node: where, found, remedy: 'delete it to begin again' });
  const size = bytes.length - HASH_BYTES;
  if (size < MAGIC.length + 4 || bytes.toString('latin1', 0, MAGIC.length) !== MAGIC) return bad(`${bytes.length} bytes that begin otherwise`);
  if (!hashOf(bytes.subarray(0, size)).equals(bytes.subarray(size))) return bad('another hash than its own');
  const length = bytes.readUInt32LE(MAGIC.length);
  if (MAGIC.length + 4 + length > size) return bad('a header longer than the file');
  let header: z.infer<typeof headerSchema>;
  try {
    header = headerSchema.parse(JSON.parse(bytes.toString('utf8', MAGIC.length + 4, MAGIC.length + 4 + length)));
  } catch {
    return bad('a header that is none');
  }
  let at = padded(MAGIC.length + 4 + length);
  const tensors = new Map<string, Tensor>();
  for (const { name, dtype, shape } of header.tensors) {
    const { array, bytes: width } = DTYPES[dtype];
    const end = at + shape.reduce((n, d) => n * d, 1) * width;
    if (!(end <= size)) return bad(`a tensor ${name} longer than the file`);
    tensors.set(name, tensor(dtype, shape, new (array as Float32ArrayConstructor)(bytes.buffer.slice(bytes.byteOffset + at, bytes.byteOffset + end) as ArrayBuffer)));
    at = padded(end);
  }
  return { meta: header.meta, tensors };
}
