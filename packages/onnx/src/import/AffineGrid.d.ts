import type { OnnxImporter } from '../node.js';
/** Base coordinates in [−1, 1], homogeneous, times θᵀ: grid [N, (D,) H, W, 2 or 3]. */
export declare const AffineGrid: OnnxImporter;
