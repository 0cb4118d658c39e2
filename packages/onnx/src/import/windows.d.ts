/** What convolution and pooling share: kernel geometry and `auto_pad`. */
import type { OnnxNode } from '../node.js';
export interface Window {
    readonly kernel: number[];
    readonly strides: number[];
    readonly dilations: number[];
    /** All begins, then all ends. */
    readonly pads: number[];
}
/**
 * Geometry of a sliding window over `spatial`. SAME pads so that the output has ceil(size/stride) elements, the odd one at the
 * end (SAME_UPPER) or the beginning (SAME_LOWER).
 */
export declare function windowOf(n: OnnxNode, spatial: readonly number[], kernel: readonly number[]): Window;
/**
 * Padding at the end of each axis that `ceil_mode` adds. A window that would start beyond the input and its leading padding
 * is left out (ONNX since opset 19, and PyTorch).
 */
export declare function ceilExtra(n: OnnxNode, spatial: readonly number[], w: Window): number[];
