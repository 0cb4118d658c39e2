/** Kernels for AVX-512 with VNNI, VBMI and VPOPCNTDQ. */
import { type ConvParams, convK, convMacs } from '@bitloom/kernel-spec';
import { type CPart, positionsOf, resultOf, template, upto } from '../variant.js';
import { depthwiseFamily } from './depthwise-x86.js';
import { lutFixed } from './lut-fixed.js';
import { type LutTarget, lutFamily } from './lut-x86.js';
import { type RowsFamily, type TileSum, dotsFit, rowsVariant, tileViews } from './rows.js';

const renderResults = template<object>('results_avx512.c.hbs');
const results: CPart = { name: 'results_avx512', render: () => renderResults({}) };
const renderFinish = template<object>('finish_avx512.c.hbs');
const renderFew = template<object>('finish_few_avx512.c.hbs');
const finish: RowsFamily['finish'] = (p, narrow, thresholds) => {
  const symbol = `bl_finish_${thresholds ? `few${thresholds}` : `${p.output}${narrow ? '16' : ''}`}_avx512`;
  const above = upto(thresholds).map((index) => ({ index, code: index + 1 }));
  const dots = narrow
    ? { dot: 'uint16_t', load: '_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)(const void *)', end: '))' }
    : { dot: 'int32_t', load: '_mm512_loadu_si512((const void *)', end: ')' };
  const multiplied = { symbol, ...dots, codes: p.output === 'codes', type: resultOf(p).type, quarters: upto(4) };
  return {
    symbol,
    parts: thresholds ? [{ name: symbol, render: () => renderFew({ symbol, thresholds, above }) }] : [results, { name: symbol, render: () => renderFinish(multiplied) }],
  };
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
  lanes: 16, vectors: VECTORS, positions, codes: false, finish,
  cell: (_, channels) => channels,
  planes: () => 1,
  stepBytes: () => 4,
  vectorBytes: () => 64,
  tiles: () => 'bl_vnni_tiles',
  place: () => 'bl_vnni_place',
  convert: () => null,
  parts: () => [{ name: 'vnni', render: () => renderVnni(tileViews('bl_vnni', VECTORS, positions)) }],
};

const renderPlanes = template<object>('planes_avx512.c.hbs');
const renderPopcnt = template<object>('vpopcnt.c.hbs');
const popcntName = (p: ConvParams): string => `bl_vpopcnt${dotsFit(p) ? '16' : ''}`;
function popcntView(p: ConvParams): object {
  const narrow = dotsFit(p);
  const name = popcntName(p);
  const { tiles, table } = tileViews(name, VECTORS, positions);
  const wide = (s: TileSum): string => `_mm256_storeu_si256((__m256i *)(void *)(acc + ${8 * s.index}), _mm512_cvtepi64_epi32(${s.name}));`;
  return { name, narrow, dot: narrow ? 'uint16_t' : 'int32_t', tiles: tiles.map((t) => ({ ...t, stores: t.rows.flatMap(({ sums: s }) => (narrow ? joinedStores(s) : s.map(wide))) })), table };
}
/** Of one position: lanes of four vectors, or of two, joined to words that alternate. */
function joinedStores(s: readonly TileSum[]): string[] {
  const at = `(void *)(acc + ${8 * s[0].index})`;
  const [a, b, c, d] = s.map((x) => x.name);
  const shifted = (v: string, bits: number): string => `_mm512_slli_epi64(${v}, ${bits})`;
  const pair = `_mm512_or_si512(${a}, ${shifted(b, 16)})`;
  if (s.length === 4) return [`_mm512_storeu_si512(${at}, _mm512_or_si512(${pair}, _mm512_or_si512(${shifted(c, 32)}, ${shifted(d, 48)})));`];
  const single = (v: string, to: string): string => `_mm_storeu_si128((__m128i *)${to}, _mm512_cvtepi64_epi16(${v}));`;
  if (s.length === 1) return [single(a, at)];
  return [`_mm256_storeu_si256((__m256i *)${at}, _mm512_cvtepi64_epi32(${pair}));`, ...(s.length === 3 ? [single(c, `(void *)(acc + ${8 * s[0].index + 16})`)] : [])];
}
const vpopcnt: RowsFamily = {
  name: 'bitserial_vpopcnt', kernel: 'bitserial', isa: 'avx512',
  title: (p) => `${p.weightBits}-bit weights times ${p.activationBits}-bit codes over bit planes.`,
  accepts: (p) => p.weightBits! < 8,
  cost: (p, l) => 200 + l.converted * p.inC * (0.03 + 0.02 * p.activationBits!) + (convMacs(p) / convK(p)) * 0.3
    + (l.vectors * 8 * l.segments * l.steps * 64 * p.weightBits! * p.activationBits! * positionsOf(p)) / 1000,
  lanes: 8, vectors: VECTORS, positions, codes: true, form: (p) => (dotsFit(p) ? '_16' : ''), narrow: dotsFit, finish,
  cell: (_, channels) => Math.ceil(channels / 8),
  planes: (p) => p.activationBits!,
  stepBytes: () => 8,
  vectorBytes: (p) => 64 * p.weightBits!,
  tiles: (p) => `${popcntName(p)}_tiles`,
  place: (p) => `${popcntName(p)}_place`,
  convert: () => 'bl_planes',
  parts: (p) => [sums, { name: 'planes_avx512', render: () => renderPlanes({}) }, { name: popcntName(p), render: () => renderPopcnt(popcntView(p)) }],
};

const renderLoad = template<object>('load_avx512.c.hbs');
const load: CPart = { name: 'load_avx512', render: () => renderLoad({}) };
/** Tables of one plane are found as fast as they are read; of more they are made, which takes the same however many (Zen 5, 3×3, 64 channels, w2a4: 202 µs, found plane by plane 229). */
const lutTarget: LutTarget = { isa: 'avx512', name: 'lut_vpermb', taps: 6, bytes: 64, codeBits: 4, registers: 24, rate: 1000, tables: (p) => p.activationBits! > 1, narrow: true };

export const AVX512_VARIANTS = [
  vnni, vpopcnt, depthwiseFamily('avx512', 16, 4, 40, finish, [load]), ...[1, 2, 3].map((w) => lutFamily(w, lutTarget, finish, [load, sums])), lutFixed(finish, [load, sums]),
].map(rowsVariant);
