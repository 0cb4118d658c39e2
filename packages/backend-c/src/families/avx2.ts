/** Kernels for AVX2. */
import { type ConvParams, convK, convMacs } from '@bitloom/kernel-spec';
import { type CPart, positionsOf, template } from '../variant.js';
import { depthwiseFamily } from './depthwise-x86.js';
import { lutFamily } from './lut-x86.js';
import { type Layout, type RowsFamily, rowsVariant, tileViews } from './rows.js';

const part = (name: string, view: object = {}): CPart => {
  const render = template<object>(`${name}.c.hbs`);
  return { name, render: () => render(view) };
};
const load = part('load_avx2');
const sums = part('sums_avx2');
const finishPart = part('finish_avx2', {
  kinds: [{ name: 'codes', type: 'uint8_t', epilogue: 'bl_code', codes: true }, { name: 'f32', type: 'float', epilogue: 'bl_scaled', codes: false }],
});
const finish: RowsFamily['finish'] = (p) => ({ symbol: `bl_finish_${p.output}_avx2`, parts: [load, finishPart] });

const VECTORS = 2;
const positions = (): number => 5;
const renderMadd = template<object>('madd_avx2.c.hbs');
function maddView(name: string, words: boolean): object {
  const { tiles, table } = tileViews(`bl_${name}`, VECTORS, positions);
  return { name, words, tiles: tiles.map((t) => ({ ...t, count: t.sums.length })), table };
}
const maddCost = (p: ConvParams, l: Layout, rate: number): number =>
  200 + l.converted * p.inC * 0.03 + (convMacs(p) / convK(p)) * 0.3 + (l.vectors * l.segments * l.steps * 32 * positionsOf(p)) / rate;

const words: RowsFamily = {
  name: 'int8_madd', kernel: 'int8', isa: 'avx2',
  title: (p) => `${p.weightBits}-bit weights times codes of up to 8 bits, both as words.`,
  accepts: () => true,
  cost: (p, l) => maddCost(p, l, 150),
  lanes: 8, vectors: VECTORS, positions, codes: false, finish,
  cell: (_, channels) => 2 * channels,
  planes: () => 1,
  stepBytes: () => 4,
  vectorBytes: () => 32,
  tiles: () => 'bl_madd_tiles',
  place: () => 'bl_madd_place',
  convert: () => 'bl_words',
  parts: () => [{ name: 'madd', render: () => renderMadd(maddView('madd', true)) }],
};

/** Sums of two products fit in 16 bits so many times. */
const maddubsFlush = (p: ConvParams): number => Math.floor(32767 / (2 * (2 ** p.activationBits! - 1) * 2 ** (p.weightBits! - 1)));
const bytes: RowsFamily = {
  name: 'dot8_maddubs', kernel: 'dot8', isa: 'avx2',
  title: (p) => `${p.weightBits}-bit weights times ${p.activationBits}-bit codes as bytes, summed in 16 bits.`,
  accepts: (p) => maddubsFlush(p) >= 2,
  cost: (p, l) => maddCost(p, l, 140 / (1 + 1.5 / maddubsFlush(p))),
  lanes: 8, vectors: VECTORS, positions, codes: false, finish,
  cell: (_, channels) => channels,
  planes: () => 1,
  stepBytes: () => 4,
  vectorBytes: () => 32,
  flush: maddubsFlush,
  tiles: () => 'bl_maddubs_tiles',
  place: () => 'bl_maddubs_place',
  convert: () => null,
  parts: () => [{ name: 'maddubs', render: () => renderMadd(maddView('maddubs', false)) }],
};

const lut = (w: number): RowsFamily => lutFamily(w, { isa: 'avx2', name: 'lut_pshufb', taps: 4, bytes: 32, codeBits: 4, registers: 8, rate: 530, tables: () => false, narrow: false }, finish, [sums]);

export const AVX2_VARIANTS = [words, bytes, depthwiseFamily('avx2', 8, 2, 14, finish, []), ...[1, 2, 3].map(lut)].map(rowsVariant);
