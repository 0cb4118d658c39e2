import type { OnnxImporter } from '../node.js';
export declare const signal: Readonly<Record<string, OnnxImporter>>;
