/** Tables of partial sums, indexed by one-bit weights: `vpshufb` looks up 16 entries, `vpermb` 64. */
import { type ConvParams, convK } from '@bitloom/kernel-spec';
import { type CPart, positionsOf, template, upto } from '../variant.js';
import { type RowsFamily, dotsFit, tileViews } from './rows.js';

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
  /** Converted rows hold the tables of codes themselves; otherwise where in memory the table of each plane of theirs begins. */
  tables(p: ConvParams): boolean;
  /** Dot products are stored as 16 bits where they fit. */
  readonly narrow: boolean;
}

const VECTORS = 2;
/** Vectors of weights that a pass over tables takes: with so many all sums stay in registers. */
const PASS = 2;
const renderLut = template<object>('lut_x86.c.hbs');
const renderCommon = template<object>('lut_x86_common.c.hbs');
const renderTables = template<object>('lut_tables_avx512.c.hbs');

/** The family for one number of weight bits, on which tiles depend. */
export function lutFamily(w: number, t: LutTarget, finish: RowsFamily['finish'], parts: readonly CPart[]): RowsFamily {
  const most = (a: number): number => t.taps * (2 ** a - 1);
  const flush = (p: ConvParams): number => Math.floor(255 / most(p.activationBits!));
  /**
   * Whether sums in words, too, are named variables: with more sums they would be spilled at every step that carries, which costs less only where
   * that is rare (Zen 5, 3×3, 128 channels, w2a2: 159 µs, in passes 187; 64 channels 219 and 183; w2a4 of 128 channels 219 and 203).
   */
  const inPasses = (vectors: number, p: ConvParams): boolean => t.tables(p) && (flush(p) === 2 || vectors * w <= PASS);
  const positions = (vectors: number, p: ConvParams): number => {
    if (inPasses(vectors, p)) return vectors * w === 1 ? 8 : 4;
    return Math.max(1, Math.min(6, Math.floor(t.registers / (VECTORS * w))));
  };
  const narrow = (p: ConvParams): boolean => t.narrow && dotsFit(p);
  const form = (p: ConvParams): string => `${t.tables(p) ? '_tables' : ''}${narrow(p) ? '_16' : ''}`;
  const symbol = (p: ConvParams): string => `bl_lut${form(p)}_${t.isa}_w${w}a${p.activationBits}`;
  const registers = t.isa === 'avx512'
    ? { mm: '_mm512', type: '__m512i', zero: '_mm512_setzero_si512()', low: '_mm512_castsi512_si256', high: '_mm512_extracti64x4_epi64' }
    : { mm: '_mm256', type: '__m256i', zero: '_mm256_setzero_si256()', low: '_mm256_castsi256_si128', high: '_mm256_extracti128_si256' };
  const target = { ...t, ...registers, target: t.isa.toUpperCase(), table: `bl_bits_${t.isa}` };
  const view = (p: ConvParams): object => {
    const a = p.activationBits!;
    const { tiles, table } = tileViews(symbol(p), VECTORS, (v) => positions(v, p));
    return {
      ...target, w, a, most: most(a), flush: flush(p), codeMax: 2 ** a - 1, ports: table, name: symbol(p), tables: t.tables(p), offsets: !t.tables(p) && a > 1, two: flush(p) === 2, narrow: narrow(p), dot: narrow(p) ? 'uint16_t' : 'int32_t',
      tiles: tiles.map((tile) => {
        const indices = tile.vectors * w;
        const columns = upto(indices).map((column) => ({ column }));
        const rowsOf = (of: readonly { readonly column: number }[]) => upto(tile.pixels).map((pixel) => ({
          pixel, planes: upto(a).slice(1),
          sums: of.map(({ column }) => {
            const index = pixel * indices + column;
            return { name: `s${pixel}_${column}`, pairs: `p${pixel}_${column}`, upper: `u${pixel}_${column}`, column, index };
          }),
        }));
        // Planes whose sums are in registers become one sum where they are carried.
        const joined = narrow(p) && w > 1 && !inPasses(tile.vectors, p);
        const planes = joined ? 1 : w;
        const parts = tile.vectors * planes;
        const carries = upto(tile.pixels * parts).flatMap((index) => {
          const add = (x: string, y: string): string => `${registers.mm}_add_epi16(${x}, ${y})`;
          const names = upto(joined ? w : 1).map((b) => `s${Math.floor(index / parts)}_${(index % parts) * (joined ? w : 1) + b}`);
          const sum = (terms: readonly string[]): string => terms.reduceRight((high, low) => add(add(high, high), low));
          return [`pairs[${index}] = ${add(`pairs[${index}]`, sum(names))};`, `upper[${index}] = ${add(`upper[${index}]`, sum(names.map((s) => `${registers.mm}_srli_epi16(${s}, 8)`)))};`];
        });
        const part = (of: readonly { readonly column: number }[]) => {
          const rows = rowsOf(of);
          return { columns: of, rows, sums: rows.flatMap((r) => r.sums) };
        };
        return {
          passing: inPasses(tile.vectors, p), vectors: tile.vectors, pixels: tile.pixels, indices, planes, parts, count: tile.pixels * parts, carries, step: t.bytes * indices, ...part(columns),
          passes: upto(Math.ceil(indices / PASS)).map((i) => part(columns.slice(i * PASS, (i + 1) * PASS))),
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
    lanes: t.bytes, vectors: VECTORS, positions, form, codes: true, narrow, finish,
    cell: (p, channels) => Math.ceil(channels / t.taps) * (t.tables(p) ? t.bytes : 2),
    planes: (p) => (t.tables(p) ? 1 : p.activationBits!),
    scattered: (p) => t.tables(p) && p.kH > 1,
    stepBytes: (p) => (t.tables(p) ? t.bytes : 2),
    vectorBytes: () => t.bytes * w,
    flush,
    tiles: (p) => `${symbol(p)}_tiles`,
    place: () => `bl_lut_place_${t.isa}`,
    convert: (p) => (t.tables(p) ? 'bl_tables_avx512' : `bl_offsets_${t.isa}`),
    parts: (p) => [
      ...parts,
      { name: `lut_${t.isa}`, render: () => renderCommon({ ...target, entries: 2 ** t.taps, planes: t.codeBits, avx512: t.isa === 'avx512' }) },
      ...(t.tables(p) ? [{ name: 'lut_tables_avx512', render: () => renderTables({}) }] : []),
      { name: symbol(p), render: () => renderLut(view(p)) },
    ],
  };
}
