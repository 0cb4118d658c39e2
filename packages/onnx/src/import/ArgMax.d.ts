import type { OnnxImporter } from '../node.js';
export declare const ArgMax: OnnxImporter;
export declare const ArgMin: OnnxImporter;
