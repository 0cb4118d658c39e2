/** f32 in register tiles. Sums keep the order of the reference and are rounded like it, so that there is no fused multiply-add. */
import { type ConvParams, convK, convMacs } from '@bitloom/kernel-spec';
import { type CVariant, isDepthwise, packingOf, positionsOf, template, upto } from '../variant.js';
import { tileViews } from './rows.js';

interface F32Target {
  readonly isa: 'avx2' | 'avx512';
  readonly lanes: number;
  readonly vectors: number;
  readonly pixels: number;
  /** Products a ns on the reference machine. */
  readonly rate: number;
}

const renderF32 = template<object>('f32_x86.c.hbs');
const renderDepthwise = template<object>('f32_depthwise_x86.c.hbs');

function f32Variants(t: F32Target): CVariant[] {
  const text = { ...t, target: t.isa.toUpperCase(), ...(t.isa === 'avx512' ? { mm: '_mm512', type: '__m512', mask: '__mmask16', masks: true } : { mm: '_mm256', type: '__m256', mask: '__m256i', masks: false }) };
  const padded = (channels: number): number => Math.ceil(channels / t.lanes) * t.lanes;
  const common = { isa: t.isa, signature: 'prepared-f32', needs: [], packing: packingOf, scratch: () => 0 } as const;
  const conv: CVariant = {
    ...common, name: `f32_${t.isa}`, kernel: 'f32',
    accepts: (p) => packingOf(p) === 'panel4',
    prepared: (p: ConvParams) => p.groups * padded(p.outC / p.groups) * convK(p) * 4,
    symbol: () => `f32_${t.isa}`,
    cost: (p) => 100 + (positionsOf(p) * p.groups * padded(p.outC / p.groups) * convK(p)) / t.rate + positionsOf(p) * p.outC * 0.3,
    render() {
      const { tiles, table } = tileViews(`bl_f32_${t.isa}`, t.vectors, () => t.pixels);
      return renderF32({ ...text, tiles, ports: table });
    },
  };
  const depthwise: CVariant = {
    ...common, name: `f32_depthwise_${t.isa}`, kernel: 'depthwise',
    accepts: (p) => p.kind === 'f32' && isDepthwise(p),
    prepared: (p: ConvParams) => padded(p.inC) * p.kH * p.kW * 4,
    symbol: () => `f32_depthwise_${t.isa}`,
    cost: (p) => 100 + convMacs(p) / (t.rate / 4) + positionsOf(p) * p.outC * 0.2,
    render: () => renderDepthwise({ ...text, tiles: [4, 1].map((count) => ({ count, single: count === 1, pixels: upto(count) })) }),
  };
  return [conv, depthwise];
}

export const F32_VARIANTS = [
  ...f32Variants({ isa: 'avx2', lanes: 8, vectors: 2, pixels: 5, rate: 28 }),
  ...f32Variants({ isa: 'avx512', lanes: 16, vectors: 4, pixels: 6, rate: 46 }),
];
