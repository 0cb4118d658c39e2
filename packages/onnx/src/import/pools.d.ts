import type { OnnxImporter } from '../node.js';
export declare const pools: Readonly<Record<string, OnnxImporter>>;
