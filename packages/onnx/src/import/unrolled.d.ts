import type { OnnxImporter } from '../node.js';
/** Inputs: trip count, condition, carried values. The body also gives a condition, and outputs to collect. */
export declare const Loop: OnnxImporter;
/** Inputs: state, then sequences of which each step sees one element; outputs: state, then collected sequences. */
export declare const Scan: OnnxImporter;
