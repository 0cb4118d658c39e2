import { isBits } from '@bitloom/numerics';
import { compose } from '@bitloom/ops';
import { type DType, getAt, isFloat } from '@bitloom/tensor';
import { onnxType } from '../data-types.js';
import type { OnnxImporter, OnnxNode } from '../node.js';
import { spread } from './spread-parameters.js';

/** Integer type of the codes: by the zero point, by `output_dtype`, or u8. */
function codeType(n: OnnxNode): { dtype: DType; bits: number; signed: boolean } {
  const zero = n.optional(2);
  const named = n.attrs.int('output_dtype', 0);
  const t = zero !== null ? n.b.typeOf(zero).dtype : named ? onnxType(named, n.name).dtype : 'u8';
  const bits = zero !== null ? n.b.narrow.get(zero) : named ? onnxType(named, n.name).bits : 8;
  if (isFloat(t)) n.unsupported('codes in 8-bit or 4-bit floating point');
  const size = { i8: 8, u8: 8, i16: 16, u16: 16, i32: 32 }[t as string] ?? n.unsupported(`codes of type ${t}`);
  return { dtype: t, bits: Math.min(bits ?? size, size), signed: t.startsWith('i') };
}

/** clip(round(x/scale) + zero point), saturating */
export const QuantizeLinear: OnnxImporter = (n) => {
  const { b } = n;
  const x = isFloat(n.dtype(0)) ? n.x(0) : n.cast(n.x(0), 'f32');
  const { dtype, bits, signed } = codeType(n);
  const float = b.typeOf(x).dtype;
  const shape = n.shape(0);
  const scale = n.cast(spread(n, n.x(1), shape), float);
  const zero = n.optional(2) === null ? null : spread(n, n.x(2), shape);
  const lo = signed ? -(2 ** (bits - 1)) : 0;
  const hi = signed ? 2 ** (bits - 1) - 1 : 2 ** bits - 1;
  const rounded = n.op('round', [compose.div(b, x, scale)]);
  const y = n.cast(n.op('clip', [zero === null ? rounded : compose.add(b, rounded, n.cast(zero, float))], { min: lo, max: hi }), dtype);
  if (bits < 8) b.narrow.set(y, bits);
  const s = b.constantOf(scale);
  const z = zero === null ? null : b.constantOf(zero);
  if (s?.data.length === 1 && (zero === null || z?.data.length === 1) && isBits(bits) && !b.constantOf(y) && float === 'f32') {
    b.quantized.set(y, { real: x, scale: getAt(s, 0), zeroPoint: z ? getAt(z, 0) : 0, bits, signed });
  }
  return y;
};
