/** Tables of partial sums, indexed by one-bit weights: `vpshufb` looks up 16 entries, `vpermb` 64. */
import { type ConvParams, convK } from '@bitloom/kernel-spec';
import { type CPart, positionsOf, template, upto } from '../variant.js';
import { type RowsFamily, tileViews } from './rows.js';

export interface LutTarget {
  readonly isa: 'avx2' | 'avx512';
  readonly name: string;
  /** Weights per index. */
  readonly taps: number;
  /** Of a vector. */
  readonly bytes: number;
  /** Widest codes. */
  readonly codeBits: number;
  /** For sums: vectors × planes × positions. */
  readonly registers: number;
  /** One-bit products a ns, of this kernel on the reference machine. */
  readonly rate: number;
}

const VECTORS = 2;
const renderLut = template<object>('lut_x86.c.hbs');
const renderCommon = template<object>('lut_x86_common.c.hbs');

/** The family for one number of weight bits, on which tiles depend. */
export function lutFamily(w: number, t: LutTarget, parts: readonly CPart[]): RowsFamily {
  const pixels = Math.max(1, Math.min(6, Math.floor(t.registers / (VECTORS * w))));
  const most = (a: number): number => t.taps * (2 ** a - 1);
  const flush = (p: ConvParams): number => Math.floor(255 / most(p.activationBits!));
  const symbol = (a: number): string => `bl_lut_${t.isa}_w${w}a${a}`;
  const view = (p: ConvParams): object => {
    const a = p.activationBits!;
    const { tiles, table } = tileViews(symbol(a), VECTORS, pixels);
    return {
      ...t, w, a, most: most(a), flush: flush(p), codeMax: 2 ** a - 1, ports: table, target: t.isa.toUpperCase(), table: `bl_bits_${t.isa}`,
      ...(t.isa === 'avx512'
        ? { mm: '_mm512', type: '__m512i', zero: '_mm512_setzero_si512()', low: '_mm512_castsi512_si256', high: '_mm512_extracti64x4_epi64' }
        : { mm: '_mm256', type: '__m256i', zero: '_mm256_setzero_si256()', low: '_mm256_castsi256_si128', high: '_mm256_extracti128_si256' }),
      name: symbol(a), several: a > 1,
      tiles: tiles.map((tile) => {
        const indices = tile.vectors * w;
        const rows = upto(tile.pixels).map((pixel) => ({
          pixel, planes: upto(a).slice(1), sums: upto(indices).map((column) => ({ name: `s${pixel}_${column}`, column, index: pixel * indices + column })),
        }));
        return {
          vectors: tile.vectors, pixels: tile.pixels, indices, count: tile.pixels * indices, rows, columns: upto(indices).map((column) => ({ column })),
          sums: rows.flatMap((r) => r.sums),
        };
      }),
    };
  };
  return {
    name: `${t.name}_w${w}`, kernel: 'lut', isa: t.isa,
    title: (p) => `${w}-bit weights times ${p.activationBits}-bit codes by tables of ${2 ** t.taps} partial sums.`,
    accepts: (p) => p.weightBits === w && p.activationBits! <= t.codeBits && convK(p) * (2 ** p.activationBits! - 1) <= 65535,
    cost: (p, l) => 200 + l.converted * p.inC * (0.03 + 0.02 * p.activationBits!) + positionsOf(p) * p.outC * 0.3
      + (l.vectors * t.bytes * l.segments * l.steps * t.taps * w * positionsOf(p) * (1 + (0.5 * p.activationBits!) / (Math.min(VECTORS, l.vectors) * w) + 1.5 / flush(p))) / t.rate,
    lanes: t.bytes, vectors: VECTORS, pixels, codes: true,
    cell: (_, channels) => Math.ceil(channels / t.taps) * 2,
    planes: (p) => p.activationBits!,
    stepBytes: () => 2,
    vectorBytes: () => t.bytes * w,
    flush,
    tiles: (p) => `${symbol(p.activationBits!)}_tiles`,
    place: `bl_lut_place_${t.isa}`,
    convert: `bl_offsets_${t.isa}`,
    parts: (p) => [
      ...parts,
      { name: `lut_${t.isa}`, render: () => renderCommon({ ...t, entries: 2 ** t.taps, planes: t.codeBits, table: `bl_bits_${t.isa}`, avx512: t.isa === 'avx512' }) },
      { name: symbol(p.activationBits!), render: () => renderLut(view(p)) },
    ],
  };
}
