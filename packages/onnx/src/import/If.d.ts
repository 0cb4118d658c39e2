import type { OnnxImporter } from '../node.js';
/** The branch of a constant condition, in place. Otherwise both, and a choice between outputs of equal types. */
export declare const If: OnnxImporter;
