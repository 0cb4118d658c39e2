import type { OnnxImporter } from '../node.js';
export declare const Concat: OnnxImporter;
