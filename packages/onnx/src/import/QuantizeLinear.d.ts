import type { OnnxImporter } from '../node.js';
/** clip(round(x/scale) + zero point), saturating */
export declare const QuantizeLinear: OnnxImporter;
/** (x − zero point)·scale */
export declare const DequantizeLinear: OnnxImporter;
