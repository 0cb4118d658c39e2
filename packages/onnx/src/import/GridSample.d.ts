import type { OnnxImporter } from '../node.js';
/** x [N, C, spatial…] at the points of grid [N, out…, axes], whose coordinates lie in [−1, 1], the last spatial axis first. */
export declare const GridSample: OnnxImporter;
