/** Kernels for NEON on 64-bit ARM, compiled in where the compiler targets it; dot products where the compiler's flags allow them. */
import { type ConvParams, convK, convMacs } from '@bitloom/kernel-spec';
import { type CPart, positionsOf, template, upto } from '../variant.js';
import { type Layout, type RowsFamily, rowsVariant, tileViews } from './rows.js';

const renderCommon = template<object>('neon_common.c.hbs');
const common: CPart = {
  name: 'neon',
  render: () => renderCommon({ kinds: [{ name: 'codes', type: 'uint8_t', epilogue: 'bl_code', codes: true }, { name: 'f32', type: 'float', epilogue: 'bl_scaled', codes: false }] }),
};
const finish: RowsFamily['finish'] = (p) => ({ symbol: `bl_finish_${p.output}_neon`, parts: [common] });
const renderCodes = template<object>('neon_codes.c.hbs');
/** Sums of codes under windows, and bits of codes. */
const codes: CPart = { name: 'neon_codes', render: () => renderCodes({}) };

/** ns by instructions, five a ns: `perStep` for each vector, segment step and position. Not measured. */
const ns = (p: ConvParams, l: Layout, perCode: number, perStep: number): number =>
  200 + l.converted * p.inC * perCode + (convMacs(p) / convK(p)) * 0.5 + (l.vectors * l.segments * l.steps * positionsOf(p) * perStep) / 5;

const VECTORS = 4;
const PIXELS = 4;
const renderInt8 = template<object>('neon_int8.c.hbs');
const int8: RowsFamily = {
  name: 'int8_neon', kernel: 'int8', isa: 'neon',
  title: (p) => `${p.weightBits}-bit weights as bytes times codes of up to 7 bits.`,
  accepts: (p) => p.activationBits! < 8,
  cost: (p, l) => ns(p, l, 0.05, 1.4),
  lanes: 4, vectors: VECTORS, positions: () => PIXELS, codes: false, finish,
  cell: (_, channels) => channels,
  planes: () => 1,
  stepBytes: () => 4,
  vectorBytes: () => 16,
  tiles: () => 'bl_int8_neon_tiles',
  place: () => 'bl_int8_neon_place',
  convert: () => null,
  parts: () => [{ name: 'neon_int8', render: () => renderInt8(tileViews('bl_int8_neon', VECTORS, () => PIXELS)) }],
};
const int8Centered: RowsFamily = {
  ...int8, name: 'int8_neon_a8', title: (p) => `${p.weightBits}-bit weights as bytes times codes of 8 bits less 128.`,
  accepts: (p) => p.activationBits === 8, convert: () => 'bl_center', center: 128,
};

const BYTE_VECTORS = 2;
const renderCnt = template<object>('neon_cnt.c.hbs');
const cntView = (): object => {
  const { tiles, table } = tileViews('bl_cnt_neon', BYTE_VECTORS, () => PIXELS);
  return { table, tiles: tiles.map((t) => ({ ...t, count: t.sums.length })) };
};
const cnt: RowsFamily = {
  name: 'bitserial_cnt', kernel: 'bitserial', isa: 'neon',
  title: (p) => `${p.weightBits}-bit weights times ${p.activationBits}-bit codes over bit planes.`,
  accepts: (p) => p.weightBits! < 8 && convK(p) <= 65535,
  cost: (p, l) => ns(p, l, 0.1 + 0.1 * p.activationBits!, 3.2 * p.weightBits! * p.activationBits!),
  lanes: 16, vectors: BYTE_VECTORS, positions: () => PIXELS, codes: true, finish,
  cell: (_, channels) => Math.ceil(channels / 8),
  planes: (p) => p.activationBits!,
  stepBytes: () => 1,
  vectorBytes: (p) => 16 * p.weightBits!,
  tiles: () => 'bl_cnt_neon_tiles',
  place: () => 'bl_cnt_neon_place',
  convert: () => 'bl_planes_neon',
  parts: () => [codes, { name: 'neon_cnt', render: () => renderCnt(cntView()) }],
};

/** Four codes of `a` bits sum to at most this. */
const most = (a: number): number => 4 * (2 ** a - 1);
/** Sums in registers: vectors × planes × positions. */
const LUT_SUMS = 16;
const lutPixels = (w: number): number => Math.min(PIXELS, Math.floor(LUT_SUMS / (BYTE_VECTORS * w)));
const renderLut = template<object>('neon_lut.c.hbs');
const renderLutCommon = template<object>('neon_lut_common.c.hbs');
function lutView(w: number, a: number): object {
  const { tiles, table } = tileViews(`bl_lut_neon_w${w}a${a}`, BYTE_VECTORS, () => lutPixels(w));
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
const ones = (x: number): number => x.toString(2).replaceAll('0', '').length;
const bits4 = () => upto(4).map((b) => ({ rows: upto(16).map((x) => upto(16).map((i) => ones(x & i) << b).join(', ')) }));
/** One for each number of weight bits, since tiles depend on it. */
const lut = (w: number): RowsFamily => ({
  name: `lut_tbl_w${w}`, kernel: 'lut', isa: 'neon',
  title: (p) => `${w}-bit weights times ${p.activationBits}-bit codes by tables of 16 partial sums.`,
  accepts: (p) => p.weightBits === w && p.activationBits! <= 4 && convK(p) * (2 ** p.activationBits! - 1) <= 65535,
  cost: (p, l) => ns(p, l, 0.1 + 0.1 * p.activationBits!, 2.2 * w + 4 / Math.floor(255 / most(p.activationBits!)) + p.activationBits! / BYTE_VECTORS),
  lanes: 16, vectors: BYTE_VECTORS, positions: () => lutPixels(w), codes: true, finish,
  cell: (_, channels) => Math.ceil(channels / 4),
  planes: (p) => p.activationBits!,
  stepBytes: () => 1,
  vectorBytes: () => 16 * w,
  tiles: (p) => `bl_lut_neon_w${w}a${p.activationBits}_tiles`,
  place: () => 'bl_lut_neon_place',
  convert: () => 'bl_fours',
  parts: (p) => {
    const a = p.activationBits!;
    return [
      codes,
      { name: 'neon_lut', render: () => renderLutCommon({ bits4: bits4() }) },
      { name: `neon_lut_w${w}a${a}`, render: () => renderLut(lutView(w, a)) },
    ];
  },
});

export const NEON_VARIANTS = [int8, int8Centered, cnt, ...[1, 2, 3].map(lut)].map(rowsVariant);
