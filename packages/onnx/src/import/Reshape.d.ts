import type { OnnxImporter } from '../node.js';
/** 0 keeps a dimension (unless `allowzero`), −1 takes what is left. */
export declare const Reshape: OnnxImporter;
