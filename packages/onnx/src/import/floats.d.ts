import type { OnnxImporter } from '../node.js';
/** An importer whose formula has no meaning on integers. */
export declare const floats: (f: OnnxImporter) => OnnxImporter;
