/** Depthwise convolutions: a product of one tap and channel per lane of 32 bits. */
import { type CPart, positionsOf, template } from '../variant.js';
import { type RowsFamily, tileViews } from './rows.js';

const positions = (): number => 4;
const render = template<object>('depthwise_x86.c.hbs');

/** @param lanes of 32 bits in a vector; `rate` products a ns */
export function depthwiseFamily(isa: 'avx2' | 'avx512', lanes: number, vectors: number, rate: number, finish: RowsFamily['finish'], parts: readonly CPart[]): RowsFamily {
  const name = `bl_depthwise_${isa}`;
  const { tiles, table } = tileViews(name, vectors, positions);
  const view = {
    isa, target: isa.toUpperCase(), lanes, bytes: 4 * lanes, tiles, ports: table, avx512: isa === 'avx512',
    ...(isa === 'avx512' ? { type: '__m512i', zero: '_mm512_setzero_si512()' } : { type: '__m256i', zero: '_mm256_setzero_si256()' }),
  };
  return {
    name: `depthwise_${isa}`, kernel: 'depthwise', isa, channelwise: true,
    title: (p) => `Depthwise, ${p.weightBits}-bit weights times codes.`,
    accepts: () => true,
    cost: (p, l) => 200 + l.converted * p.inC * 0.03 + positionsOf(p) * p.outC * 0.2 + (l.vectors * lanes * l.segments * positionsOf(p)) / rate,
    lanes, vectors, positions, codes: false, finish,
    cell: (_, channels) => channels,
    planes: () => 1,
    stepBytes: () => 1,
    vectorBytes: () => 4 * lanes,
    tiles: () => `${name}_tiles`,
    place: () => `bl_depthwise_place_${isa}`,
    convert: () => null,
    parts: () => [...parts, { name: `depthwise_${isa}`, render: () => render(view) }],
  };
}
