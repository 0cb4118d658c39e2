import type { ValueId } from '@bitloom/ir';
import { type OnnxType } from '../data-types.js';
import type { OnnxImporter, OnnxNode } from '../node.js';
/** A value as another ONNX type. Half precision is kept as f32, unrounded; narrower floats are not kept at all. */
export declare function castTo(n: OnnxNode, x: ValueId, type: OnnxType): ValueId;
export declare const Cast: OnnxImporter;
