import type { OnnxImporter } from '../node.js';
/** Each repeated axis d becomes [1, d], is expanded to [r, d] and merged. */
export declare const Tile: OnnxImporter;
