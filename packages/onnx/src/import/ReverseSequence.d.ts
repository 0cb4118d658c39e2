import type { OnnxImporter } from '../node.js';
/** Reverses the first `lens[b]` steps of each sequence: a gather over the flattened time and batch axes. */
export declare const ReverseSequence: OnnxImporter;
