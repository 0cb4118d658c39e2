/** Windows of a constant size. */
import { onnxType } from '../data-types.js';
import type { OnnxImporter } from '../node.js';

/** Σ aₖ·cos(2πk·i/N) with N the size, or one less for a symmetric window. */
const cosineWindow = (...a: readonly number[]): OnnxImporter => (n) => {
  const size = n.number(0, 'size');
  const period = n.attrs.bool('periodic', true) ? size : size - 1;
  const { dtype } = onnxType(n.attrs.int('output_datatype', 1), n.name);
  return n.generate(dtype, [size], (i) => a.reduce((sum, ak, k) => sum + ak * Math.cos((2 * Math.PI * k * i) / period), 0));
};

export const cosineWindows: Readonly<Record<string, OnnxImporter>> = {
  HannWindow: cosineWindow(0.5, -0.5),
  HammingWindow: cosineWindow(25 / 46, -21 / 46),
  BlackmanWindow: cosineWindow(0.42, -0.5, 0.08),
};
