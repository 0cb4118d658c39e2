/** Activation functions made of core ops, with the formula of the ONNX documentation beside each. */
import type { ValueId } from '@bitloom/ir';
import type { OnnxImporter, OnnxNode } from '../node.js';
/** x·Φ(x), or with tanh: x/2·(1 + tanh(√(2/π)·(x + 0.044715·x³))) */
export declare function gelu(n: OnnxNode, x: ValueId, tanh: boolean): ValueId;
export declare const activations: Readonly<Record<string, OnnxImporter>>;
