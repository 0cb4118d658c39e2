import type { ValueId } from '@bitloom/ir';
import { compose } from '@bitloom/ops';
import type { OnnxImporter } from '../node.js';
import { complex, part, transform } from './fourier.js';

/** The axis is an attribute before opset 20, then an input. */
export const DFT: OnnxImporter = (n) => {
  const { b } = n;
  const rank = n.rank(0);
  const axis = n.axis(n.opset < 20 ? n.attrs.int('axis', 1) : n.number(2, 'axis', -2), rank);
  const inverse = n.attrs.bool('inverse', false);
  const onesided = n.attrs.bool('onesided', false);
  if (axis === rank - 1) n.unsupported('the axis of real and imaginary parts');
  if (inverse && onesided) n.unsupported('a one-sided inverse');
  const size = n.number(1, 'dft_length', n.shape(0)[axis]);
  const order = [...n.shape(0).map((_, i) => i).filter((i) => i !== axis && i !== rank - 1), axis];
  const cropped = compose.sliceAxis(b, n.x(0), axis, 0, Math.min(size, n.shape(0)[axis])); // zeros beyond the end add nothing
  const of = (i: number): ValueId => n.transpose(part(n, cropped, i), order);
  const [re, im] = transform(n, of(0), n.shape(0)[rank - 1] === 2 ? of(1) : null, size, onesided ? Math.floor(size / 2) + 1 : size, inverse);
  const back = (x: ValueId): ValueId => n.transpose(x, order.map((_, i) => order.indexOf(i)));
  return complex(n, back(re), back(im));
};
