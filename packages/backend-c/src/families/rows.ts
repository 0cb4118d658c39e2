/**
 * Kernels driven by rows.c.hbs: input rows are converted once into a ring, padding included, and shared by all taps; a window is
 * a list of segments, runs of converted values; vector lanes are output channels; weights are prepared in the order of reading.
 */
import type { KernelName } from '@bitloom/codegen';
import { type ConvParams, PLAIN_SUMS, convK, thresholdsOf } from '@bitloom/kernel-spec';
import { weightAlpha, weightBeta } from '@bitloom/numerics';
import type { CIsa } from '../isa.js';
import { type CPart, type CVariant, intBits, isDepthwise, packingOf, resultOf, suffix, template, up64, upto } from '../variant.js';

/** A function that requantises, and what it is made of. */
export interface Finish {
  readonly symbol: string;
  readonly parts: readonly CPart[];
}

export interface RowsFamily {
  readonly name: string;
  readonly kernel: KernelName;
  readonly isa: CIsa;
  /** One line about the kernel. */
  title(p: ConvParams): string;
  accepts(p: ConvParams): boolean;
  /** Part of C names, where the same bits are computed in more than one form. */
  form?(p: ConvParams): string;
  cost(p: ConvParams, l: Layout): number;
  /** Channels of a vector; vectors of a block, at most; positions of a tile of so many vectors, up to {@link TILE_PIXELS}. */
  readonly lanes: number;
  readonly vectors: number;
  positions(vectors: number, p: ConvParams): number;
  /** For depthwise convolutions: a vector of channels reads the same vector of input channels. Taps are segments. */
  readonly channelwise?: boolean;
  /** Kernels that take unsigned weight codes need sums of codes under each window. */
  readonly codes: boolean;
  /** Dot products are stored as 16 bits, not 32. */
  narrow?(p: ConvParams): boolean;
  /** The epilogue. */
  finish(p: ConvParams, narrow: boolean, thresholds: number): Finish;
  /** Bytes, in one of `planes` planes, of the converted input channels of a group at one position. */
  cell(p: ConvParams, channels: number): number;
  planes(p: ConvParams): number;
  /** Dot products are stored by the number of the pixel, so that tiles may hold pixels of several rows. */
  scattered?(p: ConvParams): boolean;
  /** Bytes of a segment (in a plane) that a step takes, and bytes of prepared weights of a vector in a step. */
  stepBytes(p: ConvParams): number;
  vectorBytes(p: ConvParams): number;
  /** C names: the table of tiles, the function that places a weight, the one that converts (null: codes are read as they are). */
  tiles(p: ConvParams): string;
  place(p: ConvParams): string;
  convert(p: ConvParams): string | null;
  /** What converted values are less than the codes. */
  readonly center?: number;
  /** Steps whose sums fit in narrow accumulators, where there are any. */
  flush?(p: ConvParams): number;
  parts(p: ConvParams): readonly CPart[];
}

/** The struct bl_layout, in its order, and the bytes of scratch and prepared weights that follow. */
export interface Layout {
  readonly fields: readonly number[];
  readonly scratch: number;
  readonly prepared: number;
  readonly segments: number;
  readonly steps: number;
  /** Vectors of channels in all groups. */
  readonly vectors: number;
  /** Pixels that are converted in one call. */
  readonly converted: number;
}

/** bl_tile_pixels: positions of the largest tile. */
const TILE_PIXELS = 8;
/** Epilogues of dot products of 16 bits count thresholds where a result has few codes, each sum less beta times the codes under its window. */
const thresholdsFor = (f: RowsFamily, p: ConvParams): number => (f.narrow?.(p) ? thresholdsOf(p, PLAIN_SUMS) : 0);
/** Whether dot products of codes fit in 16 bits. */
export const dotsFit = (p: ConvParams): boolean => convK(p) * (2 ** p.weightBits! - 1) * (2 ** p.activationBits! - 1) <= 65535;
const dotBytes = (f: RowsFamily, p: ConvParams): number => (f.narrow?.(p) ? 2 : 4);

/** Bytes of dot products that are requantised together, so few that they stay in the cache. */
const HELD_BYTES = 16384;
/** Rows at least, and positions of each, that scattered kernels compute together: windows below each other share what takes longest to read. */
const PAIR = 2;
/** Output positions that share a pass over the weights of a block, at least. */
const POSITIONS = 48;

export function rowsLayout(f: RowsFamily, p: ConvParams): Layout {
  const groups = f.channelwise ? 1 : p.groups;
  const cg = p.inC / groups;
  const cell = f.cell(p, cg);
  const pixel = groups * cell;
  const split = f.channelwise || (p.kW > 1 && (p.dilW > 1 || p.groups > 1));
  const columns = (p.outW - 1) * p.strideW + (p.kW - 1) * p.dilW + 1;
  const height = (rows: number): number => (rows - 1) * p.strideH + (p.kH - 1) * p.dilH + 1;
  const inside = p.padT === 0 && p.padL === 0 && height(p.outH) <= p.inH && columns <= p.inW;
  const direct = f.convert(p) === null && inside;
  const scattered = f.scattered?.(p) ?? false;
  const rows = Math.ceil(p.outH / Math.ceil(p.outH / Math.min(p.outH, Math.max(scattered ? PAIR : 1, Math.ceil(POSITIONS / p.outW)))));
  const ring = height(rows);
  const segments = p.kH * (split ? p.kW : 1);
  const steps = f.channelwise ? 1 : Math.ceil((split ? cell : p.kW * cell) / f.stepBytes(p));
  const stride = Math.min(f.vectors, Math.ceil(p.outC / groups / f.lanes)) * f.lanes;
  const held = scattered ? rows * p.outW : Math.min(rows * p.outW, Math.max(TILE_PIXELS, Math.floor(HELD_BYTES / (dotBytes(f, p) * stride))));
  const plane = columns * pixel;
  const row = up64(plane * f.planes(p) + 64);
  let scratch = 0;
  const take = (bytes: number): number => {
    const at = scratch;
    scratch += up64(bytes);
    return at;
  };
  take(direct ? 0 : (ring + 1) * row);
  const offsets = [
    direct ? 0 : columns * p.inC, f.codes ? (ring + 1) * columns * groups * 4 : 0, (rows * segments + p.kH) * 8, rows * p.outW * 24, f.codes ? rows * p.outW * 4 : 0,
    stride * Math.max(held, TILE_PIXELS) * dotBytes(f, p),
  ].map(take);
  const vectors = groups * Math.ceil(p.outC / groups / f.lanes);
  const vector = segments * steps * f.vectorBytes(p);
  const channels = vectors * f.lanes;
  const weights = up64(channels * (2 * thresholdsFor(f, p) || 4));
  return {
    fields: [rows, scattered ? PAIR : p.outW, Number(scattered), ring, columns, segments, steps, Number(split), Number(direct), p.weightBits!, p.activationBits!, f.flush?.(p) ?? 0, held, pixel, direct ? p.inW * p.inC : plane, row, ...offsets, channels, vector, weights],
    scratch: scratch + 64, prepared: weights + vectors * vector, segments, steps, vectors,
    converted: direct ? 0 : p.batch * (p.inH + 1) * columns,
  };
}

const renderKernel = template<object>('rows_kernel.c.hbs');
const rowsPart: CPart = { name: 'rows', render: () => renderRows({}) };
const renderRows = template<object>('rows.c.hbs');
const renderThreshold = template<object>('threshold.c.hbs');
const thresholdPart: CPart = { name: 'threshold', render: () => renderThreshold({}) };

/** The row of the variant table for a family. */
export function rowsVariant(f: RowsFamily): CVariant {
  const symbol = (p: ConvParams): string => `${f.name}${f.form?.(p) ?? ''}_w${p.weightBits}a${p.activationBits}_${thresholdsFor(f, p) ? `few${thresholdsFor(f, p)}` : suffix(p)}`;
  const finish = (p: ConvParams): Finish => f.finish(p, f.narrow?.(p) ?? false, thresholdsFor(f, p));
  return {
    name: f.name, kernel: f.kernel, isa: f.isa, signature: 'prepared', needs: [],
    accepts: (p) => p.kind === 'int' && isDepthwise(p) === Boolean(f.channelwise) && f.accepts(p),
    packing: packingOf,
    prepared: (p) => rowsLayout(f, p).prepared,
    scratch: (p) => rowsLayout(f, p).scratch,
    layout: (p) => rowsLayout(f, p).fields.join(', '),
    symbol,
    cost: (p) => f.cost(p, rowsLayout(f, p)),
    parts: (p) => [rowsPart, ...(thresholdsFor(f, p) ? [thresholdPart] : []), ...finish(p).parts, ...f.parts(p)],
    render(p) {
      const { w } = intBits(p);
      const thresholds = thresholdsFor(f, p);
      return renderKernel({
        title: f.title(p), symbol: symbol(p), w, ...resultOf(p), lanes: f.lanes, vectors: f.vectors, pixels: upto(f.vectors).map((v) => f.positions(v + 1, p)).join(', '), codes: f.codes,
        channelwise: Number(f.channelwise ?? false), alpha: f.codes ? weightAlpha(w) : 1, beta: f.codes ? weightBeta(w) : 0, center: f.center ?? 0,
        tiles: `&${f.tiles(p)}[0][0]`, place: f.place(p), convert: f.convert(p) ?? 'NULL',
        sum: f.codes ? `bl_sum_${f.isa}` : 'NULL', windows: f.codes ? `bl_windows_${f.isa}` : 'NULL',
        finish: finish(p).symbol, thresholds, dot: dotBytes(f, p), constant: thresholds ? 2 : 4,
      });
    },
  };
}

export interface TileSum {
  readonly name: string;
  readonly vector: number;
  readonly pixel: number;
  /** Of the vector within acc[pixel][vector]. */
  readonly index: number;
}
/** Views of all register tiles of up to `vectors`, each with up to its number of positions, and the table of their names. */
export function tileViews(prefix: string, vectors: number, positions: (vectors: number) => number) {
  const tiles = upto(vectors).flatMap((v) => upto(positions(v + 1)).map((n) => {
    const sum = (vector: number, pixel: number): TileSum => ({ name: `s${pixel}_${vector}`, vector, pixel, index: pixel * (v + 1) + vector });
    const rows = upto(n + 1).map((pixel) => ({ pixel, sums: upto(v + 1).map((vector) => sum(vector, pixel)) }));
    return { vectors: v + 1, pixels: n + 1, rows, columns: upto(v + 1).map((vector) => ({ vector })), sums: rows.flatMap((r) => r.sums) };
  }));
  const table = upto(vectors).map((v) => ({ names: upto(positions(v + 1)).map((n) => `${prefix}_${v + 1}x${n + 1}`).join(', ') }));
  return { tiles, table };
}
