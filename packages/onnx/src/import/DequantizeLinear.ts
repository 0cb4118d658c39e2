import type { ValueId } from '@bitloom/ir';
import { isBits } from '@bitloom/numerics';
import { compose } from '@bitloom/ops';
import { getAt, isFloat, toNumbers } from '@bitloom/tensor';
import type { Quantized } from '../folding.js';
import type { OnnxImporter, OnnxNode } from '../node.js';
import { spread } from './spread-parameters.js';

/**
 * The float value that was quantised, annotated. Exporters leave out a rectifier whose range the codes have, so a range that
 * begins at zero stays in the float graph as a clip.
 */
function annotate(n: OnnxNode, q: Quantized): ValueId | null {
  const { b } = n;
  if (!isBits(q.bits)) return null;
  const shift = q.signed ? 2 ** (q.bits - 1) : 0;
  const zeroPoint = q.zeroPoint + shift;
  const implied = zeroPoint === 0 && !b.nonNegative(q.real);
  const x = implied ? n.op('clip', [q.real], { min: 0, max: Math.fround(q.scale * (2 ** q.bits - 1)) }) : q.real;
  const old = b.annotations.get(x);
  if (old && (old.scheme.bits !== q.bits || old.scale[0] !== Math.fround(q.scale) || old.zeroPoint[0] !== zeroPoint)) return null;
  b.annotations.set(x, { scheme: { bits: q.bits, signed: false, axis: null }, scale: Float32Array.of(q.scale), zeroPoint: Int32Array.of(zeroPoint) });
  return x;
}

/** (x − zero point)·scale */
export const DequantizeLinear: OnnxImporter = (n) => {
  const { b } = n;
  const x = n.x(0);
  const shape = n.shape(0);
  const scale = b.constantOf(n.x(1));
  const zero = n.optional(2) === null ? null : n.x(2);
  const zeros = zero === null ? [0] : b.constantOf(zero) && toNumbers(b.constantOf(zero)!);

  const q = b.quantized.get(x);
  if (q && scale?.data.length === 1 && zeros?.length === 1 && getAt(scale, 0) === q.scale && zeros[0] === q.zeroPoint) {
    const real = annotate(n, q);
    if (real !== null) return real;
  }

  const narrow = b.narrow.get(x);
  const wide = isFloat(n.dtype(0)) ? x : n.cast(x, ['i8', 'u8', 'i16', 'u16'].includes(n.dtype(0)) ? 'f32' : 'f64');
  const centred = zero === null ? wide : compose.sub(b, wide, n.cast(spread(n, zero, shape), b.typeOf(wide).dtype));
  const to = b.typeOf(n.x(1)).dtype;
  const y = compose.mul(b, n.cast(centred, to), spread(n, n.x(1), shape));
  // Symmetric weights, perhaps stored with half the range added.
  const bits = narrow ?? 8;
  const middle = n.dtype(0) === 'u8' ? 2 ** (bits - 1) : 0;
  if (b.constantOf(x) && ['i8', 'u8'].includes(n.dtype(0)) && zeros?.every((z) => z === middle) && scale && b.shapeOf(n.x(1)).length <= 1) {
    const axis = scale.data.length === 1 ? null : n.axis(n.attrs.int('axis', 1), shape.length);
    if (isBits(bits)) {
      b.annotations.set(y, { scheme: { bits, signed: true, axis }, scale: Float32Array.from(toNumbers(scale)), zeroPoint: new Int32Array(scale.data.length) });
    }
  }
  return y;
};
