import type { OnnxImporter } from '../node.js';
export declare const recurrents: Readonly<Record<string, OnnxImporter>>;
