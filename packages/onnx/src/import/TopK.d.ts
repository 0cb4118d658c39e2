import type { OnnxImporter } from '../node.js';
/** `k` is an attribute before opset 10. */
export declare const TopK: OnnxImporter;
