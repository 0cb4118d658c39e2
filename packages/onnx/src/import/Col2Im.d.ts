import type { OnnxImporter } from '../node.js';
/** Sums columns back into an image: a transposed convolution, grouped by channel, whose weights are one at one kernel place each. */
export declare const Col2Im: OnnxImporter;
