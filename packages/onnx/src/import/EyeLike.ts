import { allocate, setAt } from '@bitloom/tensor';
import { generatedCount, onnxType } from '../data-types.js';
import type { OnnxImporter } from '../node.js';

/** Ones on the k-th diagonal, in the shape of a matrix. */
export const EyeLike: OnnxImporter = (n) => {
  const [rows, cols] = n.rank(0) === 2 ? n.shape(0) : n.mismatch(`rank ${n.rank(0)}`, 'a matrix');
  const k = n.attrs.int('k', 0);
  const dtype = n.attrs.has('dtype') ? onnxType(n.attrs.int('dtype', 1), n.name).dtype : n.dtype(0);
  generatedCount([rows, cols], n.name);
  const out = allocate(dtype, [rows, cols]);
  for (let i = 0; i < rows; i++) if (i + k >= 0 && i + k < cols) setAt(out, i * cols + i + k, 1);
  return n.b.const(out);
};
