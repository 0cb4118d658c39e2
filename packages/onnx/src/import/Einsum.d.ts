import type { OnnxImporter } from '../node.js';
/** Index notation: operands are contracted from the left, each pair as a batched matmul. */
export declare const Einsum: OnnxImporter;
