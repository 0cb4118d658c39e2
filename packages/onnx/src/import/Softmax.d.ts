import type { ValueId } from '@bitloom/ir';
import type { OnnxImporter, OnnxNode } from '../node.js';
/**
 * Applies `f` along the `axis` attribute. Before opset 13 the tensor is seen as a matrix whose columns are all axes from
 * `axis` (default 1) on; from 13 on `axis` (default −1) is one axis.
 */
export declare function onFlattened(n: OnnxNode, f: (x: ValueId, axis: number) => ValueId): ValueId;
export declare const Softmax: OnnxImporter;
export declare const LogSoftmax: OnnxImporter;
