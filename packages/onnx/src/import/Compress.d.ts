import type { OnnxImporter } from '../node.js';
/** The slices where a constant condition holds, along an axis or of the flattened tensor. */
export declare const Compress: OnnxImporter;
