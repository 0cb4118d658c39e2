import type { OnnxImporter } from '../node.js';
export declare const constants: Readonly<Record<string, OnnxImporter>>;
