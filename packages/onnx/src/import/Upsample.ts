import type { OnnxImporter } from '../node.js';
import { emitResize, sizesFor } from './Resize.js';

/** Opset 7 has scales as an attribute, 9 as an input. */
export const Upsample: OnnxImporter = (n) => {
  const scales = n.attrs.floats('scales', null) ?? n.list(1, 'scales');
  if (scales.length !== n.rank(0)) n.mismatch(`${scales.length} scales`, `${n.rank(0)}`);
  return emitResize(n, sizesFor(n, scales), scales, {});
};
