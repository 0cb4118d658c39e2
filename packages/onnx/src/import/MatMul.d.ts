import type { ValueId } from '@bitloom/ir';
import type { OnnxImporter, OnnxNode } from '../node.js';
/** a·b with numpy's rules; a constant matrix on the right becomes the weight of `linear`. */
export declare function matmul(n: OnnxNode, a: ValueId, b: ValueId): ValueId;
export declare const MatMul: OnnxImporter;
