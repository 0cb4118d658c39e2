import type { OnnxImporter } from '../node.js';
/** Running product along an axis, unrolled. */
export declare const CumProd: OnnxImporter;
