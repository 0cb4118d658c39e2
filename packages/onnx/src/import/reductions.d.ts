import type { OnnxImporter } from '../node.js';
export declare const reductions: Readonly<Record<string, OnnxImporter>>;
