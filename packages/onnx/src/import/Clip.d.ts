import type { OnnxImporter } from '../node.js';
/** Bounds: attributes before opset 11, then inputs, which may be computed. The upper bound wins where they cross. */
export declare const Clip: OnnxImporter;
