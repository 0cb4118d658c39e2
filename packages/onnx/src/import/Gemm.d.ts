import type { OnnxImporter } from '../node.js';
/** alpha·A'·B' + beta·C. A constant B becomes the weight of `linear`, and a C of one row its bias. */
export declare const Gemm: OnnxImporter;
