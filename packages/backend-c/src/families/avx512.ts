/** Kernels for AVX-512 with VNNI, VBMI and VPOPCNTDQ. */
import { convK, convMacs } from '@bitloom/kernel-spec';
import { type CPart, template } from '../variant.js';
import { type RowsFamily, rowsVariant, tileViews } from './rows.js';

const renderFinish = template<object>('finish_avx512.c.hbs');
/** The epilogue. */
const finish: CPart = {
  name: 'finish_avx512',
  render: () => renderFinish({ kinds: [{ name: 'codes', type: 'uint8_t', codes: true }, { name: 'f32', type: 'float', codes: false }] }),
};

const VECTORS = 4;
const PIXELS = 6;
const renderVnni = template<object>('vnni.c.hbs');
const vnni: RowsFamily = {
  name: 'int8_vnni', kernel: 'int8', isa: 'avx512',
  title: (p) => `${p.weightBits}-bit weights as bytes times codes of up to 8 bits.`,
  accepts: () => true,
  cost: (p, l) => 200 + l.converted * p.inC * 0.03 + (convMacs(p) / convK(p)) * 0.15 + (l.vectors * 16 * l.segments * l.steps * 4 * (p.batch * p.outH * p.outW)) / 330,
  key: (p) => `w${p.weightBits}`,
  lanes: 16, vectors: VECTORS, pixels: PIXELS, codes: false,
  cell: (_, channels) => channels,
  planes: () => 1,
  stepBytes: () => 4,
  vectorBytes: () => 64,
  tiles: () => 'bl_vnni_tiles',
  place: () => 'bl_vnni_place',
  convert: () => null,
  parts: () => [finish, { name: 'vnni', render: () => renderVnni(tileViews('bl_vnni', VECTORS, PIXELS)) }],
};

export const AVX512_VARIANTS = [vnni].map(rowsVariant);
