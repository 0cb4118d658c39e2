import { allocate, tensorOf } from '@bitloom/tensor';
import { generatedCount } from '../data-types.js';
import type { OnnxImporter } from '../node.js';

/** One value (0.0 by default) in a constant shape. */
export const ConstantOfShape: OnnxImporter = (n) => {
  const shape = n.list(0, 'shape');
  const value = n.attrs.tensor('value');
  const fill = value ? n.around.readTensor(value, n.name) : tensorOf('f32', [1], [0]);
  generatedCount(shape, n.name);
  const out = allocate(fill.dtype, shape);
  (out.data as Float32Array).fill(fill.data[0] as number);
  return n.b.const(out);
};
