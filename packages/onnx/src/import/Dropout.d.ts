import type { OnnxImporter } from '../node.js';
/** The identity; the mask, where asked for, is all true. Training mode with a ratio above 0 is random, so not supported. */
export declare const Dropout: OnnxImporter;
