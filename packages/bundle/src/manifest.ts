/** manifest.json: what a bundle is, checked strictly when it is read back. */
import { createHash } from 'node:crypto';
import { fail } from '@bitloom/diagnostics';
import type { Bits } from '@bitloom/numerics';
import { z } from 'zod';

export const SCHEMA_VERSION = 2;

const count = z.number().int().nonnegative().max(2 ** 40);
const dtype = z.enum(['f32', 'f64', 'i8', 'i16', 'i32', 'i64', 'u8', 'u16', 'u32', 'u64', 'bool']);
const hash = z.string().regex(/^[0-9a-f]{64}$/);
/** Relative path of a file inside the bundle: no empty, `.` or `..` steps. */
const path = z.string().regex(/^(?!.*(^|\/)\.{0,2}(\/|$))[A-Za-z0-9_./-]+$/);

const port = z.strictObject({
  name: z.string(),
  dtype,
  shape: z.array(count).readonly(),
  /** Scale and zero point at which the network stores this port; null for floats. */
  scale: z.number().nullable(),
  zeroPoint: z.number().int().nullable(),
});

const layer = z.strictObject({
  name: z.string(),
  op: z.string(),
  weightBits: z.number().int(),
  activationBits: z.number().int(),
  /** By target. */
  kernel: z.record(z.string(), z.string()),
  /** By target: predicted ns of a run (`measured` when the very call was timed) and those of the next best kernel. */
  cost: z.record(z.string(), z.strictObject({
    ns: z.number().nonnegative(), measured: z.boolean(), runnerUp: z.string().nullable(), runnerUpNs: z.number().nonnegative().nullable(),
  })),
  macs: count,
  params: count,
});

const constant = z.strictObject({
  buffer: count,
  packing: z.enum(['planes', 'bytes', 'f32', 'panel4', 'raw']),
  rows: count,
  k: count,
  bits: z.number().int().min(1).max(8).transform((b) => b as Bits).nullable(),
  offset: count,
  bytes: count,
}).refine((k) => k.packing !== 'planes' || k.bits !== null, 'bit planes without a bit-width');

const wasmModule = z.strictObject({
  module: path, features: z.array(z.enum(['simd128', 'relaxed-simd', 'threads'])), arenaBytes: count, weightsBase: count, arenaBase: count, codeBytes: count,
  /** Threads it is made for, and pages of the memory that these share. */
  threads: z.number().int().min(2).max(64).optional(), pages: z.number().int().min(1).max(65536).optional(),
  /** Byte addresses of the ports. */
  inputs: z.array(count), outputs: z.array(count),
  /** Address of each call's results, for layer-by-layer verification. */
  results: z.array(z.array(count)),
}).refine((m) => (m.threads !== undefined) === m.features.includes('threads') && (m.threads === undefined) === (m.pages === undefined), 'threads without a shared memory');

export const manifestSchema = z.strictObject({
  schemaVersion: z.literal(SCHEMA_VERSION),
  generator: z.strictObject({ name: z.literal('bitloom'), version: z.string() }),
  model: z.strictObject({ name: z.string(), sha256: hash, opset: z.number().int() }),
  inputs: z.array(port),
  outputs: z.array(port),
  /** What the first output is, where the network ends in a classifier. */
  classifier: z.enum(['logits', 'probabilities']).nullable(),
  targets: z.strictObject({
    /** Fastest module first; the last one is for engines that support no other. */
    wasm: z.strictObject({ weights: path, modules: z.array(wasmModule).min(1) }).optional(),
    c: z.strictObject({ folder: path, name: z.string(), arenaBytes: count, codeBytes: count }).optional(),
  }),
  /** The program and its constants, from which the reference runs. */
  reference: z.strictObject({ program: path, constants: path, weights: path, table: z.array(constant), vectors: path }),
  layers: z.array(layer),
  bits: z.strictObject({ weights: z.number(), activations: z.number() }),
  /** Predicted ns of a run by target. */
  latency: z.record(z.string(), z.number().nonnegative()),
  /** `live`: the largest set of buffers that a call needs, a lower bound of the arena. */
  bytes: z.strictObject({ weights: count, code: count, arena: count, live: count, floatWeights: count }),
  cost: z.strictObject({ bops: z.number() }),
  search: z.strictObject({ strategy: z.string(), objective: z.number().nullable(), lowerBound: z.number().nullable(), gap: z.number().nullable() }),
  calibration: z.strictObject({ data: z.string(), samples: count, method: z.string() }).nullable(),
  /** How images become inputs; evaluation uses the same. */
  preprocessing: z.record(z.string(), z.unknown()),
  files: z.record(path, z.strictObject({ bytes: count, sha256: hash })),
  /** Of everything above, see {@link sealManifest}. */
  checksum: hash,
}).refine(
  ({ inputs, outputs, targets: { wasm } }) => !wasm || wasm.modules.every((m) => m.inputs.length === inputs.length && m.outputs.length === outputs.length),
  'other numbers of inputs and outputs than of their addresses',
);

export type Manifest = z.infer<typeof manifestSchema>;

export const sha256 = (bytes: Uint8Array | string): string => createHash('sha256').update(bytes).digest('hex');

/** Adds the checksum: SHA-256 of the manifest as JSON without white space. */
export const sealManifest = (m: Omit<Manifest, 'checksum'>): Manifest => ({ ...m, checksum: sha256(JSON.stringify(m)) });

/** @throws E701 when it is no manifest of this version, or not the one that was written */
export function parseManifest(text: string, where: string): Manifest {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (cause) {
    fail('E701', 'the manifest is not JSON', { node: where }, cause);
  }
  const version = (json as { schemaVersion?: unknown } | null)?.schemaVersion;
  if (version !== SCHEMA_VERSION) {
    fail('E701', 'bundle of an unknown schema version', {
      node: where, found: String(version), expected: String(SCHEMA_VERSION), remedy: 'compile the model again with this version',
    });
  }
  const parsed = manifestSchema.safeParse(json);
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    fail('E701', 'the manifest is malformed', { node: `${where}: ${issue.path.join('.')}`, found: issue.message });
  }
  const { checksum, ...rest } = json as Manifest;
  if (sealManifest(rest).checksum !== checksum) {
    fail('E701', 'the manifest is corrupted', { node: where, found: 'another checksum', remedy: 'compile the model again' });
  }
  return parsed.data;
}
