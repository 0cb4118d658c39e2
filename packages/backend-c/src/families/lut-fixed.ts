/** Tables of all that a few codes times a few weights can add up to, 64 entries each: `vpermb` looks up what codes choose and weights index. */
import type { ConvParams } from '@bitloom/kernel-spec';
import { type CPart, positionsOf, template, upto } from '../variant.js';
import { type RowsFamily, dotsFit, tileViews } from './rows.js';

const INDEX_BITS = 6;
const BYTES = 64;
/** Bits of codes that choose a table: so all take 16 KB at most, and stay in the cache of the first level. */
const TABLE_BITS = 8;
/** With fewer sums before they overflow the carries cost more than making tables does; with shorter indices there are too many look-ups. */
const LEAST_FLUSH = 4;
const LEAST_INDEX_BITS = 4;
/** Look-ups that are unrolled, at most. */
const UNROLLED = 10;
const VECTORS = 2;
const positions = (vectors: number): number => (vectors === 1 ? 8 : 4);
const render = template<object>('lut_fixed_avx512.c.hbs');

const taps = (p: ConvParams): number => Math.min(Math.floor(INDEX_BITS / p.weightBits!), Math.floor(TABLE_BITS / p.activationBits!));
const most = (p: ConvParams): number => taps(p) * (2 ** p.weightBits! - 1) * (2 ** p.activationBits! - 1);
const flush = (p: ConvParams): number => Math.floor(255 / most(p));
/** Look-ups that are unrolled, so many that most sums of 8 bits are filled. */
function unrolled(p: ConvParams): number {
  const filled = (n: number): number => Math.floor(flush(p) / n) * n;
  return upto(Math.min(flush(p), UNROLLED)).map((i) => i + 1).reduce((best, n) => (filled(n) >= filled(best) ? n : best), 1);
}
const symbol = (p: ConvParams): string => `bl_lut_fixed_w${p.weightBits}a${p.activationBits}`;

function view(p: ConvParams): object {
  const w = p.weightBits!, a = p.activationBits!, n = taps(p), codes = Math.floor(64 / n) * n, together = unrolled(p);
  const { tiles, table } = tileViews(symbol(p), VECTORS, positions);
  return {
    name: symbol(p), w, a, taps: n, most: most(p), flush: flush(p), together, repeats: Math.floor(flush(p) / together), entries: 2 ** (n * a), codes, whole: codes === 64, weightMax: 2 ** w - 1, codeMax: 2 ** a - 1, table,
    further: upto(n).slice(1).map((tap) => ({ tap, shift: tap * a })), tiles: tiles.map((t) => ({ ...t, step: BYTES * t.vectors, unrolled: upto(together) })),
  };
}

/** @param parts what sums of codes, loads and stores need */
export const lutFixed = (finish: RowsFamily['finish'], parts: readonly CPart[]): RowsFamily => ({
  name: 'lut_vpermb_fixed', kernel: 'lut', isa: 'avx512',
  title: (p) => `${p.weightBits}-bit weights times ${p.activationBits}-bit codes by tables of the sums of ${taps(p)} products.`,
  // Codes of one bit are what the tables of partial sums are fixed for, too.
  accepts: (p) => p.activationBits! > 1 && taps(p) > 1 && taps(p) * p.weightBits! >= LEAST_INDEX_BITS && flush(p) >= LEAST_FLUSH && dotsFit(p),
  cost: (p, l) => 200 + l.converted * p.inC * 0.02 + positionsOf(p) * p.outC * 0.03 + l.vectors * l.segments * l.steps * positionsOf(p) * 0.22,
  lanes: BYTES, vectors: VECTORS, positions, codes: true, narrow: () => true, finish,
  cell: (p, channels) => Math.ceil(channels / taps(p)) * 2,
  planes: () => 1,
  stepBytes: () => 2,
  vectorBytes: () => BYTES,
  tiles: (p) => `${symbol(p)}_tiles`,
  place: (p) => `${symbol(p)}_place`,
  convert: (p) => `${symbol(p)}_offsets`,
  parts: (p) => [...parts, { name: symbol(p), render: () => render(view(p)) }],
});
