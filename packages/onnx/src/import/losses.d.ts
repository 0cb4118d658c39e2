import type { OnnxImporter } from '../node.js';
export declare const NegativeLogLikelihoodLoss: OnnxImporter;
/** The same on log softmax over axis 1, which is the second output. */
export declare const SoftmaxCrossEntropyLoss: OnnxImporter;
