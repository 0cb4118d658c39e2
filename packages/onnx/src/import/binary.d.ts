/** ONNX operators that are one core op on two operands with numpy broadcasting, and those folded from it. */
import type { OnnxImporter } from '../node.js';
export declare const binary: Readonly<Record<string, OnnxImporter>>;
