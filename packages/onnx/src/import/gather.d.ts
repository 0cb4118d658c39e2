import type { OnnxImporter } from '../node.js';
export declare const gathers: Readonly<Record<string, OnnxImporter>>;
