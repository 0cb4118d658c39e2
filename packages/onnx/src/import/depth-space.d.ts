/** DepthToSpace and SpaceToDepth: reshape, transpose, reshape. */
import type { OnnxImporter } from '../node.js';
export declare const DepthToSpace: OnnxImporter;
export declare const SpaceToDepth: OnnxImporter;
