import type { OnnxImporter } from '../node.js';
/** Attributes before opset 11, inputs after; `axes` from 18. Negative amounts crop, before anything is padded. */
export declare const Pad: OnnxImporter;
