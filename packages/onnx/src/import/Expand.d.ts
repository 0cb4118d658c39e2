import type { OnnxImporter } from '../node.js';
export declare const Expand: OnnxImporter;
