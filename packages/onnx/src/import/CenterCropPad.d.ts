import type { OnnxImporter } from '../node.js';
/** Crops or pads with zeros around the middle; an odd element goes to the end. */
export declare const CenterCropPad: OnnxImporter;
