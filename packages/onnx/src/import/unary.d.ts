/** ONNX operators that are one core op, elementwise on one operand. */
import type { OnnxImporter } from '../node.js';
export declare const unary: Readonly<Record<string, OnnxImporter>>;
