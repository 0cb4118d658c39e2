/** Kernels for AVX-512 with VNNI, VBMI and VPOPCNTDQ. */
import { convK, convMacs } from '@bitloom/kernel-spec';
import { type CPart, positionsOf, template, upto } from '../variant.js';
import { type RowsFamily, rowsVariant, tileViews } from './rows.js';

const renderFinish = template<object>('finish_avx512.c.hbs');
/** The epilogue. */
const finish: CPart = {
  name: 'finish_avx512',
  render: () => renderFinish({ kinds: [{ name: 'codes', type: 'uint8_t', codes: true }, { name: 'f32', type: 'float', codes: false }] }),
};

const renderSums = template<object>('sums_avx512.c.hbs');
/** Sums of codes under windows. */
const sums: CPart = { name: 'sums_avx512', render: () => renderSums({}) };

const VECTORS = 4;
const PIXELS = 6;
const renderVnni = template<object>('vnni.c.hbs');
const vnni: RowsFamily = {
  name: 'int8_vnni', kernel: 'int8', isa: 'avx512',
  title: (p) => `${p.weightBits}-bit weights as bytes times codes of up to 8 bits.`,
  accepts: () => true,
  cost: (p, l) => 200 + l.converted * p.inC * 0.03 + (convMacs(p) / convK(p)) * 0.15 + (l.vectors * 16 * l.segments * l.steps * 4 * (p.batch * p.outH * p.outW)) / 330,
  lanes: 16, vectors: VECTORS, pixels: PIXELS, codes: false,
  cell: (_, channels) => channels,
  planes: () => 1,
  stepBytes: () => 4,
  vectorBytes: () => 64,
  tiles: () => 'bl_vnni_tiles',
  place: 'bl_vnni_place',
  convert: null,
  parts: () => [finish, { name: 'vnni', render: () => renderVnni(tileViews('bl_vnni', VECTORS, PIXELS)) }],
};

const renderPopcnt = template<object>('vpopcnt.c.hbs');
const vpopcnt: RowsFamily = {
  name: 'bitserial_vpopcnt', kernel: 'bitserial', isa: 'avx512',
  title: (p) => `${p.weightBits}-bit weights times ${p.activationBits}-bit codes over bit planes.`,
  accepts: (p) => p.weightBits! < 8,
  cost: (p, l) => 200 + l.converted * p.inC * (0.03 + 0.02 * p.activationBits!) + (convMacs(p) / convK(p)) * 0.3
    + (l.vectors * 8 * l.segments * l.steps * 64 * p.weightBits! * p.activationBits! * positionsOf(p)) / 1000,
  lanes: 8, vectors: VECTORS, pixels: PIXELS, codes: true,
  cell: (_, channels) => Math.ceil(channels / 8),
  planes: (p) => p.activationBits!,
  stepBytes: () => 8,
  vectorBytes: (p) => 64 * p.weightBits!,
  tiles: () => 'bl_vpopcnt_tiles',
  place: 'bl_vpopcnt_place',
  convert: 'bl_planes',
  parts: () => [finish, sums, { name: 'vpopcnt', render: () => renderPopcnt(tileViews('bl_vpopcnt', VECTORS, PIXELS)) }],
};

/** Six codes of `a` bits sum to at most this. */
const most = (a: number): number => 6 * (2 ** a - 1);
const LUT_VECTORS = 2;
/** Sums in registers: vectors × planes × positions. */
const LUT_SUMS = 24;
const lutPixels = (w: number): number => Math.min(6, Math.floor(LUT_SUMS / (LUT_VECTORS * w)));
const renderLut = template<object>('lut_avx512.c.hbs');
const renderLutCommon = template<object>('lut_avx512_common.c.hbs');
function lutView(w: number, a: number): object {
  const { tiles, table } = tileViews(`bl_lut_w${w}a${a}`, LUT_VECTORS, lutPixels(w));
  return {
    w, a, most: most(a), flush: Math.floor(255 / most(a)), codeMax: 2 ** a - 1, table,
    tiles: tiles.map((t) => {
      const indices = t.vectors * w;
      const rows = upto(t.pixels).map((pixel) => ({
        pixel, planes: upto(a).slice(1), sums: upto(indices).map((column) => ({ name: `s${pixel}_${column}`, column, index: pixel * indices + column })),
      }));
      return { vectors: t.vectors, pixels: t.pixels, indices, count: t.pixels * indices, rows, columns: upto(indices).map((column) => ({ column })), sums: rows.flatMap((r) => r.sums) };
    }),
  };
}
/** One for each number of weight bits, since tiles depend on it. */
const lut = (w: number): RowsFamily => ({
  name: `lut_vpermb_w${w}`, kernel: 'lut', isa: 'avx512',
  title: (p) => `${w}-bit weights times ${p.activationBits}-bit codes by tables of 64 partial sums.`,
  accepts: (p) => p.weightBits === w && p.activationBits! <= 4 && convK(p) * (2 ** p.activationBits! - 1) <= 65535,
  cost: (p, l) => 200 + l.converted * p.inC * (0.03 + 0.02 * p.activationBits!) + (convMacs(p) / convK(p)) * 0.3
    + (l.vectors * 64 * l.segments * l.steps * 6 * w * positionsOf(p)) / (1000 / (1 + 1.5 / Math.floor(255 / most(p.activationBits!)))),
  lanes: 64, vectors: LUT_VECTORS, pixels: lutPixels(w), codes: true,
  cell: (_, channels) => Math.ceil(channels / 6) * 2,
  planes: (p) => p.activationBits!,
  stepBytes: () => 2,
  vectorBytes: () => 64 * w,
  tiles: (p) => `bl_lut_w${w}a${p.activationBits}_tiles`,
  place: 'bl_lut_place',
  convert: 'bl_sixes',
  parts: (p) => {
    const a = p.activationBits!;
    return [
      finish, sums,
      { name: 'lut', render: () => renderLutCommon({}) },
      { name: `lut_w${w}a${a}`, render: () => renderLut(lutView(w, a)) },
    ];
  },
});

export const AVX512_VARIANTS = [vnni, vpopcnt, ...[1, 2, 3].map(lut)].map(rowsVariant);
