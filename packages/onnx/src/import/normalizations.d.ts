import type { OnnxImporter } from '../node.js';
export declare const normalizations: Readonly<Record<string, OnnxImporter>>;
