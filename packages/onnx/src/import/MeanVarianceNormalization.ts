import { compose } from '@bitloom/ops';
import type { OnnxImporter } from '../node.js';
import { floats } from './floats.js';

const { sub, div, shift, square, reduceMean } = compose;

/** (x − E x)/(√(E x² − (E x)²) + 1e-9) */
export const MeanVarianceNormalization: OnnxImporter = floats((n) => {
  const { b } = n;
  const axes = n.axes(n.attrs.ints('axes', null) ?? [0, 2, 3], n.rank(0));
  const centred = sub(b, n.x(0), reduceMean(b, n.x(0), axes, true));
  const deviation = n.op('sqrt', [reduceMean(b, square(b, centred), axes, true)]);
  return div(b, centred, shift(b, deviation, 1e-9));
});
