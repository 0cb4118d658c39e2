/**
 * The contract between the convolution driver (driver.ts) and the kernel families (families/*.ts).
 *
 * The driver turns input rows (or gathered patches) into *converted activations*, walks blocks of output pixels and channels, and
 * requantises. A family says how activations and weights lie in memory and supplies the inner loops. Lanes are output channels,
 * so there are no horizontal sums, and tensors are channels-last on both sides.
 *
 * The reduction of an output is the concatenation of *segments*: runs of converted activations, contiguous in memory, all of the
 * same number of steps, in the order kH, kW, channel. Pixels of a tile have their segments at equal distances.
 */
import type { KernelName, PackingName } from '@bitloom/codegen';
import type { ConvParams } from '@bitloom/kernel-spec';

/** Instruction sets of targets: none, SIMD128, and SIMD128 with relaxed instructions. */
export type Isa = 'scalar' | 'simd128' | 'relaxed';

/** A function of the module. Equal names mean equal functions; `text` renders the definition `(func $name …)`. */
export interface WasmFunction {
  readonly name: string;
  text(): string;
}

/** A family, specialised for the parameters of one convolution (in practice for its bit-widths). */
export interface FamilyKernel {
  /** What specialises it, e.g. `lut_w2a4`; names the driver's functions and, with the geometry, the layout of prepared weights. */
  readonly symbol: string;
  /** Output channels of a block: a multiple of 8 with SIMD. A tile always computes all of them. */
  readonly channels: number;
  /** Pixels of a tile, widest first, ending in 1. The driver covers a row by the cheapest sum of these. */
  readonly pixels: readonly number[];
  /** Tile functions in the order of {@link pixels}, see {@link TILE_PARAMS}. */
  readonly tiles: readonly WasmFunction[];
  /** Elements of K that a step takes. Segments are rounded up to whole steps; what is too much has zero weights and unspecified activations. */
  readonly step: number;
  /**
   * Positions in converted activations: element e (a multiple of `grain`) lies at byte e / grain · grainBytes, and a segment or a
   * pixel may begin at any multiple of `grain`. Divides `step`. A family whose grain does not divide the channels gets gathered
   * patches.
   */
  readonly grain: number;
  readonly grainBytes: number;
  /** Longest segment in steps; the driver cuts longer ones (bounds of narrow accumulators). Infinity where there is no bound. */
  readonly maxSteps: number;
  /** Bytes of one block of weights: `channels` channels, one segment of `steps` steps; a multiple of 16. */
  blockBytes(steps: number): number;
  /**
   * `(func $convert (param $src i32) (param $dst i32) (param $n i32))`: converts n codes (u8, below 2^activationBits; a multiple of
   * `step`, and whatever lies after the end of a run: any byte). May read 64 and write 64 bytes too far. Null where activations are
   * taken as they are: f32, or codes as bytes (grain 1, grainBytes 4 or 1).
   */
  readonly convert: WasmFunction | null;
  /**
   * `(func $place (param $codes i32) (param $dst i32) (param $lane i32) (param $n i32))`: puts n weights of one channel and one
   * segment into lane `lane` of the block at `dst`, which is zero before. Integers: u8 weight codes u of v = alpha·u − beta
   * (numerics); a family on signed weights stores v. n need not be a multiple of `step`; missing elements must count as zero weights
   * (v = 0, or u = 0 for {@link unsigned}), which zero bytes must mean. Floats: f32 values. Runs once at start-up: clear rather than fast.
   */
  readonly place: WasmFunction;
  /**
   * Tiles that requantise what they summed up, in the order of {@link pixels}, see {@link COUNTING_PARAMS}. Asked where an output is a count of
   * thresholds (epilogue.ts), and `steps` is that of all segments together; null where so many take several rounds.
   */
  counting?(thresholds: number, steps: number): readonly WasmFunction[] | null;
  /**
   * Sums are Σ u·x of weight codes (the driver adds −beta·Σ x of each window and multiplies by alpha), else Σ v·x of weight values.
   */
  readonly unsigned: boolean;
  /** Sums are over x − offset in place of x. */
  readonly offset: number;
}

/**
 * Parameters of a tile function of P pixels. For each of `n` tiles of P neighbouring pixels, P · `channels` sums, i32 exact modulo
 * 2^32 (f32: rounded product by product in the order of K), are written to acc.
 *
 * - `w`: weights of the first segment; those of segment s lie at w + s · blockStep.
 * - `segs`: address of `nsegs` ≥ 1 i32 addresses of segments.
 * - `x`: bytes to add to every segment address for the first pixel; `xs`: bytes between pixels.
 * - `steps` ≥ 1: steps of every segment.
 * - `acc`: 16-aligned, [pixel][channel] sums; `accs`: bytes between pixels, a multiple of 16.
 * - `n` ≥ 1: number of tiles; tile t begins at x + t·P·xs and acc + t·P·accs.
 *
 * Activations may be read 64 bytes past the end of a segment, weights 64 bytes past a block; activation addresses are aligned to
 * nothing, weights to 16.
 */
export const TILE_PARAMS = ['w', 'segs', 'nsegs', 'blockStep', 'x', 'xs', 'steps', 'acc', 'accs', 'n'] as const;

/** Rendered {@link TILE_PARAMS}. */
export const tileParams = TILE_PARAMS.map((p) => `(param $${p} i32)`).join(' ');

/**
 * Parameters of a tile function that counts thresholds: those of {@link TILE_PARAMS}, but for results.
 *
 * - `d`: the descriptor.
 * - `k`: thresholds of the block's channels, [8 channels][threshold][channel].
 * - `sums`: i32 of −beta·Σ x of each pixel, where sums are of weight codes.
 * - `y`: codes of the first pixel; `ys`: bytes between pixels.
 * - `channels`: the block's first on, that there are; no others are stored.
 */
export const COUNTING_PARAMS = ['w', 'segs', 'nsegs', 'blockStep', 'x', 'xs', 'steps', 'n', 'd', 'k', 'sums', 'y', 'ys', 'channels'] as const;

/** Rendered {@link COUNTING_PARAMS}. */
export const countingParams = COUNTING_PARAMS.map((p) => `(param $${p} i32)`).join(' ');

/** A row of the table of families (families.ts): a kernel variant comes of each. */
export interface Family {
  /** Unique, e.g. `lut__simd128`. */
  readonly name: string;
  readonly kernel: KernelName;
  readonly isa: Isa;
  /** Whether {@link kernel} may be asked; the driver has no demands of its own. */
  accepts(p: ConvParams): boolean;
  /** ns of one call on the reference machine. */
  cost(p: ConvParams): number;
  packing(p: ConvParams): PackingName;
  specialise(p: ConvParams): FamilyKernel;
}

/** How constant integer weights are shipped: bit planes, or bytes at 8 bits. The driver unpacks either for {@link FamilyKernel.place}. */
export const integerPacking = (p: ConvParams): PackingName => (p.weightBits! < 8 ? 'planes' : 'bytes');
