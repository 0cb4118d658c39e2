import type { OnnxImporter } from '../node.js';
/** Starts, ends, axes and steps are attributes before opset 10, inputs after; out-of-range values clamp as in Python. */
export declare const Slice: OnnxImporter;
