/** From a Program to a Plan: a variant per call, packed weights, and a place in memory for every buffer. */
import { fail } from '@bitloom/diagnostics';
import { byteSize } from '@bitloom/tensor';
import { type BufferDef, type KernelCall, type Port, type Program, convK, hasFewCodes, isBounded } from '@bitloom/kernel-spec';
import { alignUp, planMemory } from './memory.js';
import { type PackingName, type WeightShape, packOnce } from './packing.js';
import { type ConvPart, splitConv } from './split.js';
import { type KernelVariant, type RankedVariant, type VariantCost, type VariantFilter, preparedFrom, rankVariants } from './variant.js';

/**
 * Constants live in the weights blob, weights in the layout of a kernel in the prepared region, everything else in the arena;
 * offsets in bytes, 16-aligned (prepared: 64-aligned).
 */
export interface Location {
  readonly region: 'weights' | 'prepared' | 'arena';
  readonly offset: number;
  readonly bytes: number;
}

export interface PlannedCall {
  readonly call: KernelCall;
  /** null for nests. */
  readonly variant: KernelVariant | null;
  readonly args: readonly Location[];
  readonly results: readonly Location[];
  readonly scratch: Location | null;
  /** What threads compute of a convolution, each with its own piece of the scratch; one part without threads, none for nests. */
  readonly parts: readonly PlannedPart[];
  readonly prepared: Location | null;
  /** The chosen variant and its next best rival with their costs in ns; empty for nests. */
  readonly ranking: readonly RankedVariant[];
}

export interface PlannedPart extends ConvPart {
  readonly scratch: Location | null;
}

/** How one constant buffer was packed. */
export interface PackedConstant {
  readonly buffer: number;
  readonly packing: PackingName | 'raw';
  readonly shape: WeightShape | null;
  readonly location: Location;
}

export interface PlannedPort extends Port {
  readonly location: Location;
}

export interface Plan {
  readonly program: Program;
  readonly target: string;
  /** That calls are split for. */
  readonly threads: number;
  readonly calls: readonly PlannedCall[];
  readonly constants: readonly PackedConstant[];
  /**
   * All constants: first the packed weights of convolutions ({@link packedBytes} of them), then raw ones (multipliers, offsets,
   * tables). {@link WEIGHTS_SLACK} zero bytes at the end may be over-read.
   */
  readonly weights: Uint8Array;
  readonly packedBytes: number;
  /** Of the prepared region, {@link WEIGHTS_SLACK} included; 0 when no call needs it. */
  readonly preparedBytes: number;
  /** Calls whose weights must be prepared once, before the first run: one of those that share a region. */
  readonly preparations: readonly number[];
  readonly arenaBytes: number;
  /** Largest sum of buffers and scratch alive during one call: a lower bound of `arenaBytes`. */
  readonly liveBytes: number;
  readonly inputs: readonly PlannedPort[];
  readonly outputs: readonly PlannedPort[];
}

/** Kernels may load up to this many bytes past a constant or an arena buffer (never store). */
export const WEIGHTS_SLACK = 64;
/** Cache lines, and the widest vectors. */
const PREPARED_ALIGNMENT = 64;

const bufferBytes = (b: BufferDef): number => b.elements * byteSize(b.dtype);

export interface PlanOptions {
  readonly target: string;
  readonly variants: readonly KernelVariant[];
  readonly filter?: VariantFilter;
  readonly cost?: VariantCost;
  /** Threads that the calls are split for; default 1. */
  readonly threads?: number;
}

/** The program with what is known of the results of its convolutions. */
function withBounds(program: Program): Program {
  const calls = program.calls.map((c): KernelCall => {
    if (c.family !== 'conv' || c.params.kind !== 'int') return c;
    const [multiplier, offset] = c.args.slice(2).map((b) => program.buffers[b].data);
    return multiplier && offset ? { ...c, params: { ...c.params, bounded: isBounded(c.params, multiplier as Float32Array, offset as Float32Array) } } : c;
  });
  return { ...program, calls };
}

/** @throws E601 when no variant accepts a call, or the weights of a convolution are not constant */
export function makePlan(given: Program, options: PlanOptions): Plan {
  const rankings = given.calls.map((c) =>
    c.family === 'conv' ? rankVariants(options.variants, c.params, c.origin, options.filter, options.cost).slice(0, 2) : []);
  const variants = rankings.map((r): KernelVariant | null => r[0]?.variant ?? null);
  const program = withBounds(given);

  // A constant used in two ways is packed once per format and shape.
  const blobs: Uint8Array[] = [];
  const constants: PackedConstant[] = [];
  const byKey = new Map<string, Location>();
  let weightBytes = 0;
  const place = (buffer: number, packing: PackingName | 'raw', shape: WeightShape | null): Location => {
    const key = JSON.stringify([buffer, packing, shape]);
    const known = byKey.get(key);
    if (known) return known;
    const data = program.buffers[buffer].data!;
    const bytes = packing === 'raw' || !shape ? new Uint8Array(data.buffer, data.byteOffset, data.byteLength) : packOnce(data, packing, shape);
    const location: Location = { region: 'weights', offset: weightBytes, bytes: bytes.length };
    byKey.set(key, location);
    constants.push({ buffer, packing, shape, location });
    const padded = new Uint8Array(alignUp(bytes.length));
    padded.set(bytes);
    blobs.push(padded);
    weightBytes += padded.length;
    return location;
  };

  const constantOf = (call: KernelCall, i: number, arg: number, position: number): Location => {
    if (call.family !== 'conv' || position !== 1) return place(arg, 'raw', null);
    const p = call.params;
    return place(arg, variants[i]!.packing(p), { rows: p.outC, k: convK(p), bits: p.weightBits });
  };
  // Packed weights first, so that they can be shipped apart from everything else.
  program.calls.forEach((c, i) => {
    if (c.family !== 'conv') return;
    if (!program.buffers[c.args[1]].data) fail('E601', 'the weights of a convolution must be constant', { node: c.origin });
    constantOf(c, i, c.args[1], 1);
  });
  const packedBytes = weightBytes;

  const lives = new Map<number, { first: number; last: number }>();
  const touch = (buffer: number, at: number): void => {
    if (program.buffers[buffer].data) return;
    const l = lives.get(buffer);
    if (l) l.last = Math.max(l.last, at);
    else lives.set(buffer, { first: at, last: at });
  };
  for (const p of program.inputs) touch(p.buffer, 0);
  program.calls.forEach((c, i) => [...c.args, ...c.results].forEach((b) => touch(b, i)));
  for (const p of program.outputs) touch(p.buffer, program.calls.length);

  const regions = new Map<string, Location>();
  const preparations: number[] = [];
  let preparedBytes = 0;
  const prepared = program.calls.map((c, i): Location | null => {
    const bytes = c.family === 'conv' ? variants[i]!.prepared(c.params) : 0;
    if (c.family !== 'conv' || bytes === 0) return null;
    const key = JSON.stringify([c.args[1], variants[i]!.symbol(c.params), preparedFrom(c.params), hasFewCodes(c.params) ? c.args.slice(2) : null]);
    const known = regions.get(key);
    if (known) return known;
    const location: Location = { region: 'prepared', offset: preparedBytes, bytes };
    regions.set(key, location);
    preparations.push(i);
    preparedBytes += alignUp(bytes, PREPARED_ALIGNMENT);
    return location;
  });
  if (preparedBytes) preparedBytes += WEIGHTS_SLACK;

  const { threads = 1 } = options;
  const parts = program.calls.map((c) => (c.family === 'conv' ? splitConv(c.params, threads) : []));
  const partScratch = program.calls.map((c, i) => (c.family === 'conv' ? parts[i].map((part) => variants[i]!.scratch(c.params, part.params)) : []));
  const scratch = partScratch.map((of) => of.slice(0, -1).reduce((n, bytes) => n + alignUp(bytes, PREPARED_ALIGNMENT), of.at(-1) ?? 0));
  const ids = [...lives.keys()];
  const memory = planMemory([
    ...ids.map((b) => ({ bytes: bufferBytes(program.buffers[b]), ...lives.get(b)! })),
    ...scratch.map((bytes, i) => ({ bytes, first: i, last: i })),
  ]);
  const arena = new Map(ids.map((b, i) => [b, { region: 'arena', offset: memory.offsets[i], bytes: bufferBytes(program.buffers[b]) } as Location]));

  const portLocation = (p: Port): PlannedPort => ({ ...p, location: program.buffers[p.buffer].data ? place(p.buffer, 'raw', null) : arena.get(p.buffer)! });

  const calls = program.calls.map((call, i): PlannedCall => ({
    call,
    variant: variants[i],
    args: call.args.map((a, position) => (program.buffers[a].data ? constantOf(call, i, a, position) : arena.get(a)!)),
    results: call.results.map((r) => arena.get(r)!),
    scratch: scratch[i] > 0 ? { region: 'arena', offset: memory.offsets[ids.length + i], bytes: scratch[i] } : null,
    parts: parts[i].map((part, k) => {
      const before = partScratch[i].slice(0, k).reduce((n, bytes) => n + alignUp(bytes, PREPARED_ALIGNMENT), 0);
      const bytes = partScratch[i][k];
      return { ...part, scratch: bytes > 0 ? { region: 'arena', offset: memory.offsets[ids.length + i] + before, bytes } : null };
    }),
    prepared: prepared[i],
    ranking: rankings[i],
  }));
  const inputs = program.inputs.map(portLocation);
  const outputs = program.outputs.map(portLocation);

  const weights = new Uint8Array(weightBytes + WEIGHTS_SLACK);
  let at = 0;
  for (const b of blobs) {
    weights.set(b, at);
    at += b.length;
  }
  return {
    program, target: options.target, threads, calls, constants, weights, packedBytes, preparedBytes, preparations,
    arenaBytes: memory.bytes + WEIGHTS_SLACK, liveBytes: memory.live, inputs, outputs,
  };
}
