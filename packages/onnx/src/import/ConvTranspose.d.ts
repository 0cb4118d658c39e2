import type { OnnxImporter } from '../node.js';
/** `output_shape` and SAME (output = input · stride) set the padding: total = stride·(in − 1) + output_padding + reach − out. */
export declare const ConvTranspose: OnnxImporter;
