/** Kernels for AVX-512 with VNNI, VBMI and VPOPCNTDQ. */
import { convK, convMacs } from '@bitloom/kernel-spec';
import { type CPart, positionsOf, template, upto } from '../variant.js';
import { depthwiseFamily } from './depthwise-x86.js';
import { type LutTarget, lutFamily } from './lut-x86.js';
import { type RowsFamily, rowsVariant, tileViews } from './rows.js';

const renderFinish = template<object>('finish_avx512.c.hbs');
/** The epilogue. */
const finish: CPart = {
  name: 'finish_avx512',
  render: () => renderFinish({ kinds: [{ name: 'codes', type: 'uint8_t', codes: true }, { name: 'f32', type: 'float', codes: false }].map((k) => ({ ...k, quarters: upto(4) })) }),
};

const renderSums = template<object>('sums_avx512.c.hbs');
/** Sums of codes under windows. */
const sums: CPart = { name: 'sums_avx512', render: () => renderSums({}) };

const VECTORS = 4;
/** Of a tile: as many sums under way as registers hold. */
const positions = (vectors: number): number => (vectors <= 2 ? 8 : 6);
const renderVnni = template<object>('vnni.c.hbs');
const vnni: RowsFamily = {
  name: 'int8_vnni', kernel: 'int8', isa: 'avx512',
  title: (p) => `${p.weightBits}-bit weights as bytes times codes of up to 8 bits.`,
  accepts: () => true,
  cost: (p, l) => 200 + l.converted * p.inC * 0.03 + (convMacs(p) / convK(p)) * 0.15 + (l.vectors * 16 * l.segments * l.steps * 4 * (p.batch * p.outH * p.outW)) / 330,
  lanes: 16, vectors: VECTORS, positions, codes: false,
  cell: (_, channels) => channels,
  planes: () => 1,
  stepBytes: () => 4,
  vectorBytes: () => 64,
  tiles: () => 'bl_vnni_tiles',
  place: 'bl_vnni_place',
  convert: () => null,
  parts: () => [finish, { name: 'vnni', render: () => renderVnni(tileViews('bl_vnni', VECTORS, positions)) }],
};

const renderPopcnt = template<object>('vpopcnt.c.hbs');
const vpopcnt: RowsFamily = {
  name: 'bitserial_vpopcnt', kernel: 'bitserial', isa: 'avx512',
  title: (p) => `${p.weightBits}-bit weights times ${p.activationBits}-bit codes over bit planes.`,
  accepts: (p) => p.weightBits! < 8,
  cost: (p, l) => 200 + l.converted * p.inC * (0.03 + 0.02 * p.activationBits!) + (convMacs(p) / convK(p)) * 0.3
    + (l.vectors * 8 * l.segments * l.steps * 64 * p.weightBits! * p.activationBits! * positionsOf(p)) / 1000,
  lanes: 8, vectors: VECTORS, positions, codes: true,
  cell: (_, channels) => Math.ceil(channels / 8),
  planes: (p) => p.activationBits!,
  stepBytes: () => 8,
  vectorBytes: (p) => 64 * p.weightBits!,
  tiles: () => 'bl_vpopcnt_tiles',
  place: 'bl_vpopcnt_place',
  convert: () => 'bl_planes',
  parts: () => [finish, sums, { name: 'vpopcnt', render: () => renderPopcnt(tileViews('bl_vpopcnt', VECTORS, positions)) }],
};

const renderLoad = template<object>('load_avx512.c.hbs');
const load: CPart = { name: 'load_avx512', render: () => renderLoad({}) };
/** Tables of one plane are found as fast as they are read; of more they are made, which takes the same however many (Zen 5, 3×3, 64 channels, w2a4: 202 µs, found plane by plane 229). */
const lutTarget: LutTarget = { isa: 'avx512', name: 'lut_vpermb', taps: 6, bytes: 64, codeBits: 4, registers: 24, rate: 1000, tables: (p) => p.activationBits! > 1 };

export const AVX512_VARIANTS = [
  vnni, vpopcnt, depthwiseFamily('avx512', 16, 4, 40, [load, finish]), ...[1, 2, 3].map((w) => lutFamily(w, lutTarget, [load, finish, sums])),
].map(rowsVariant);
