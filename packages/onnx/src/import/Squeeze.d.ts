import type { OnnxImporter } from '../node.js';
export declare const Squeeze: OnnxImporter;
