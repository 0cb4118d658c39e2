import type { OnnxImporter } from '../node.js';
/** values[1] where the index (negative counts from `depth`) equals the position along the new axis, else values[0]. */
export declare const OneHot: OnnxImporter;
