import { isFloat } from '@bitloom/tensor';
import type { OnnxImporter } from '../node.js';

/** An importer whose formula has no meaning on integers. */
export const floats = (f: OnnxImporter): OnnxImporter => (n) => (isFloat(n.dtype(0)) ? f(n) : n.unsupported(`${n.dtype(0)} operands`));
