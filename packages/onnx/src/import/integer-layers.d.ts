import type { OnnxImporter } from '../node.js';
export declare const integerLayers: Readonly<Record<string, OnnxImporter>>;
