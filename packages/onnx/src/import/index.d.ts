/** ONNX op type → importer. Types of other domains than the default are `domain::Type`. */
import type { OnnxImporter } from '../node.js';
export declare const IMPORTERS: ReadonlyMap<string, OnnxImporter>;
