import type { OnnxImporter } from '../node.js';
/** Sizes are an attribute before opset 13, then an input; without them equal parts, the last one shorter. */
export declare const Split: OnnxImporter;
