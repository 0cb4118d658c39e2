import type { OnnxImporter } from '../node.js';
/** Keeps column j of row i where j − i ≥ k (upper) or ≤ k (lower). */
export declare const Trilu: OnnxImporter;
