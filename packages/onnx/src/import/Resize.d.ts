import type { OnnxImporter } from '../node.js';
/**
 * Opset 10 has scales only, and asymmetric coordinates; 11 adds sizes and coordinate modes; 18 adds `axes`, antialiasing and
 * `keep_aspect_ratio_policy`. Sizes by scale are floor(d·scale).
 */
export declare const Resize: OnnxImporter;
/** Opset 7 has scales as an attribute, 9 as an input. */
export declare const Upsample: OnnxImporter;
