import type { OnnxImporter } from '../node.js';
/** One at the first maximum along the axis, else zero. */
export declare const Hardmax: OnnxImporter;
