/** Portable C: bit planes counted in ordinary registers, with carry-save additions before the counting. Fits few positions, such as one row of a fully connected layer. */
import { type ConvParams, convK } from '@bitloom/kernel-spec';
import { type Bits, weightAlpha, weightBeta } from '@bitloom/numerics';
import { type CVariant, intBits, positionsOf, resultOf, suffix, template, up64 } from '../variant.js';

interface View {
  symbol: string;
  w: Bits;
  a: Bits;
  alpha: number;
  beta: number;
  type: string;
  epilogue: string;
  tile: number;
  scratchPlanes: number;
}
const render = template<View>('swar.c.hbs');
const renderDot = template<object>('swar_dot.c.hbs');
const TILE = 4;
const symbolOf = (p: ConvParams): string => `swar_w${p.weightBits}a${p.activationBits}_${suffix(p)}`;

export const swar: CVariant = {
  name: 'swar', kernel: 'bitserial', isa: 'portable', signature: 'int', needs: ['gather', 'popcount'],
  parts: () => [{ name: 'swar_dot', render: () => renderDot({}) }],
  accepts: (p) => p.kind === 'int' && p.weightBits! < 8,
  packing: () => 'planes',
  prepared: () => 0,
  scratch: (p) => up64(Math.ceil(convK(p) / 8)) * (8 + TILE * intBits(p).a),
  symbol: symbolOf,
  cost: (p) => {
    const { w, a } = intBits(p);
    const k = convK(p);
    return positionsOf(p) * (p.groups * (20 + k * 0.05 + a * k * 0.12) + p.outC * (3 + w * a * (3 + Math.ceil(k / 64) * 0.95)));
  },
  render: (p) => {
    const bits = intBits(p);
    return render({ symbol: symbolOf(p), ...bits, ...resultOf(p), alpha: weightAlpha(bits.w), beta: weightBeta(bits.w), tile: TILE, scratchPlanes: 8 + TILE * bits.a });
  },
};
