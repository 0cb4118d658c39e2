/** Decoding of the protobuf container, and the few conversions its JavaScript form needs. */
import { BitloomError, fail } from '@bitloom/diagnostics';
import onnxProto from 'onnx-proto';

export const { onnx } = onnxProto;
export type ModelProto = onnxProto.onnx.IModelProto;
export type GraphProto = onnxProto.onnx.IGraphProto;
export type NodeProto = onnxProto.onnx.INodeProto;
export type TensorProto = onnxProto.onnx.ITensorProto;
export type SparseTensorProto = onnxProto.onnx.ISparseTensorProto;
export type AttributeProto = onnxProto.onnx.IAttributeProto;
export type FunctionProto = onnxProto.onnx.IFunctionProto;
export type ValueInfoProto = onnxProto.onnx.IValueInfoProto;
export type OperatorSetIdProto = onnxProto.onnx.IOperatorSetIdProto;

/** Protobuf messages cannot be larger. */
export const MAX_MODEL_BYTES = 2 ** 31 - 1;

/** A protobuf int64 (a Long object, or a number) exactly. */
export const bigOf = (v: unknown): bigint => (typeof v === 'number' ? BigInt(v) : BigInt(String(v ?? 0)));
/** A protobuf int64 as a number; inexact above 2^53. */
export const numberOf = (v: unknown): number => (typeof v === 'number' ? v : Number(String(v ?? 0)));

/** `''` and `ai.onnx` name the same domain. */
export const domainOf = (domain: string | null | undefined): string => (domain === 'ai.onnx' ? '' : (domain ?? ''));

/** Names that the file gives values to. */
export const initializerNames = (g: GraphProto): string[] => [
  ...(g.initializer ?? []).map((t) => t.name ?? ''),
  ...(g.sparseInitializer ?? []).map((t) => t.values?.name ?? ''),
];

/** Operator set version of each domain. */
export function opsetsOf(imports: readonly OperatorSetIdProto[] | null | undefined): Map<string, number> {
  return new Map((imports ?? []).map((o) => [domainOf(o.domain), numberOf(o.version)]));
}

/**
 * Decodes a model and checks that it is one.
 * @param name what errors call it
 * @throws E201 when the bytes are not a protobuf, are cut short, or hold no graph, IR version or opset.
 */
export function decodeModel(bytes: Uint8Array, name?: string): ModelProto {
  const bad = (found: string, cause?: unknown): never =>
    fail('E201', 'not an ONNX model, or the file is cut short', {
      node: name, found, expected: 'a serialised ModelProto', remedy: 'check that the file was copied whole',
    }, cause);
  if (bytes.length === 0) bad('an empty file');
  if (bytes.length > MAX_MODEL_BYTES) bad(`${bytes.length} bytes`);
  let model: ModelProto;
  try {
    model = onnx.ModelProto.decode(bytes);
  } catch (error) {
    if (error instanceof BitloomError) throw error;
    return bad(error instanceof Error ? error.message : String(error), error);
  }
  if (!model.graph) bad('no graph');
  if (numberOf(model.irVersion) <= 0) bad('no IR version');
  if (!model.opsetImport?.length) bad('no opset import');
  return model;
}
