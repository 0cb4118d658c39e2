/** Small models for tests, written with onnx-proto. */
import { type Tensor, bytesOf } from '@bitloom/tensor';
import { ONNX_TYPES } from './data-types.js';
import { type AttributeProto, type FunctionProto, type GraphProto, type NodeProto, type OperatorSetIdProto, type TensorProto, type ValueInfoProto, onnx } from './proto.js';

export type AttributeValue = number | string | number[] | { i: number } | { ints: number[] } | { t: TensorProto } | { g: GraphProto } | { ref: string; type: number };

/** Integers are INT, other numbers FLOAT, lists INTS. */
function attribute(name: string, v: AttributeValue): AttributeProto {
  if (typeof v === 'string') return { name, type: 3, s: new TextEncoder().encode(v) };
  if (typeof v === 'number') return Number.isInteger(v) ? { name, type: 2, i: v } : { name, type: 1, f: v };
  if (Array.isArray(v)) return { name, type: 7, ints: v };
  if ('t' in v) return { name, type: 4, t: v.t };
  if ('g' in v) return { name, type: 5, g: v.g };
  if ('ref' in v) return { name, type: v.type, refAttrName: v.ref };
  return 'i' in v ? { name, type: 2, i: v.i } : { name, type: 7, ints: v.ints };
}

export function node(opType: string, input: string[], output: string[], attrs: Record<string, AttributeValue> = {}, more: Partial<NodeProto> = {}): NodeProto {
  return { opType, input, output, attribute: Object.entries(attrs).map(([name, v]) => attribute(name, v)), ...more };
}

const codeOf = (t: Tensor): number => [...ONNX_TYPES.values()].find((o) => o.dtype === t.dtype && !o.float && o.bits >= 8)!.code;
export const proto = (name: string, t: Tensor): TensorProto => ({ name, dataType: codeOf(t), dims: [...t.shape], rawData: bytesOf(t) });
export const info = (name: string, shape: (number | string | null)[] | null, elemType = 1): ValueInfoProto => ({
  name,
  type: { tensorType: { elemType, shape: shape && { dim: shape.map((d) => (d === null ? {} : typeof d === 'string' ? { dimParam: d } : { dimValue: d })) } } },
});

export interface ModelParts {
  nodes: NodeProto[];
  inputs?: ValueInfoProto[];
  outputs?: string[];
  initializers?: TensorProto[];
  opset?: number;
  opsets?: OperatorSetIdProto[];
  functions?: FunctionProto[];
}

export function model(p: ModelParts): Uint8Array {
  const graph: GraphProto = { name: 'g', node: p.nodes, input: p.inputs ?? [info('x', [1, 4])], output: (p.outputs ?? ['y']).map((name) => ({ name })), initializer: p.initializers ?? [] };
  return onnx.ModelProto.encode({ irVersion: 8, producerName: 'test', opsetImport: p.opsets ?? [{ domain: '', version: p.opset ?? 17 }], graph, functions: p.functions ?? [] }).finish();
}
