import type { OnnxImporter } from '../node.js';
/** The result has the base's type; operands of different types meet in floating point. */
export declare const Pow: OnnxImporter;
