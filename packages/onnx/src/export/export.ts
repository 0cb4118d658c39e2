import { fail } from '@bitloom/diagnostics';
import { type Graph, type ValueId, isConst, typeOf, valueOf } from '@bitloom/ir';
import { type Tensor, bytesOf } from '@bitloom/tensor';
import onnxProto from 'onnx-proto';
import { QdqWriter, idOf } from './qdq.js';
import { type AttributeValue, EXPORTS, EXPORT_OPSET, type ExportContext, ONNX_TYPE } from './table.js';

const { onnx } = onnxProto;

function attribute(name: string, v: AttributeValue): object {
  const T = onnx.AttributeProto.AttributeType;
  if (typeof v === 'number') return { name, type: T.INT, i: v };
  if (typeof v === 'string') return { name, type: T.STRING, s: new TextEncoder().encode(v) };
  if ('float' in v) return { name, type: T.FLOAT, f: v.float };
  if ('floats' in v) return { name, type: T.FLOATS, floats: v.floats };
  return { name, type: T.INTS, ints: v };
}

const tensorProto = (name: string, t: Tensor): object => ({ name, dataType: ONNX_TYPE[t.dtype], dims: t.shape, rawData: bytesOf(t) });

/**
 * A float graph as ONNX bytes (opset 19). Value ids become ONNX names; `outputs` chooses which values are graph outputs
 * (default: the graph's own). Deterministic.
 * @throws E601 for an op that has no export row.
 */
export const exportOnnx = (g: Graph, outputs: readonly ValueId[] = g.outputs): Uint8Array => write(g, outputs, { ports: false, qdq: false });

/** A float graph as an ONNX file for users: inputs and outputs carry their ONNX names, `metadata` becomes its `metadata_props`. @throws E601 as above */
export const exportModel = (g: Graph, metadata: ReadonlyMap<string, string> = new Map()): Uint8Array => write(g, g.outputs, { ports: true, qdq: false, metadata });

/**
 * A calibrated graph as ONNX bytes (opset 19) in QDQ form, which onnxruntime fuses to integer kernels: quantised activations pass
 * through QuantizeLinear and DequantizeLinear, quantised weights are int8 with one scale an output channel, biases of
 * W8A8 layers int32. Fewer than 8 bits use fewer codes of the same containers. Inputs and outputs carry their ONNX names.
 * @throws E601 for an op that has no export row.
 */
export const exportQdq = (g: Graph): Uint8Array => write(g, g.outputs, { ports: true, qdq: true });

/** `ports`: inputs and outputs under their ONNX names, in place of value ids. */
interface WriteOptions {
  readonly ports: boolean;
  readonly qdq: boolean;
  readonly metadata?: ReadonlyMap<string, string>;
}

function write(g: Graph, outputs: readonly ValueId[], { ports, qdq, metadata = new Map() }: WriteOptions): Uint8Array {
  const node: object[] = [];
  const initializer: object[] = [];
  // The node that a value came from gives its name; further nodes of the same origin get a number.
  const used = new Set<string>();
  const counts = new Map<string, number>();
  const nodeName = (base: string): string => {
    if (base === '') return '';
    let name = base;
    let count = counts.get(base) ?? 0;
    while (used.has(name)) name = `${base}.${++count}`;
    counts.set(base, count);
    used.add(name);
    return name;
  };
  let temps = 0;
  let origin = '';
  const context: ExportContext = {
    emit: (opType, input, output, attributes = {}) => {
      while (input.length > 0 && input[input.length - 1] === '') input = input.slice(0, -1);
      node.push({ name: nodeName(origin), opType, input, output, attribute: Object.entries(attributes).map(([k, v]) => attribute(k, v)) });
    },
    constant: (t) => {
      const name = `$c${temps++}`;
      initializer.push(tensorProto(name, t));
      return name;
    },
    temp: () => `$t${temps++}`,
    typeOf: (name) => typeOf(g, idOf(name)),
  };
  const quantized = qdq ? new QdqWriter(g, context) : null;
  const portName = (id: ValueId): string => {
    const { name } = valueOf(g, id);
    return ports && !g.values.has(name) ? name : id;
  };
  for (const id of g.inputs) {
    if (portName(id) !== id) context.emit('Identity', [portName(id)], [id]);
    quantized?.activation(id);
  }

  // onnxruntime runs every node it is given, so what the outputs do not need stays out.
  const needed = new Set(outputs);
  for (const n of [...g.nodes].reverse()) if (n.outputs.some((o) => needed.has(o))) n.inputs.forEach((i) => needed.add(i));
  for (const n of g.nodes) {
    if (!n.outputs.some((o) => needed.has(o))) continue;
    if (isConst(n)) {
      if (!quantized?.constant(n.outputs[0], n.attrs.data)) initializer.push(tensorProto(n.outputs[0], n.attrs.data));
      continue;
    }
    const row = EXPORTS[n.op] ?? fail('E601', `no ONNX export for ${n.op}`, { node: n.origin });
    origin = n.origin;
    row(context, (quantized?.node(n) ?? n) as never);
    for (const o of n.outputs) quantized?.activation(o);
  }
  origin = '';
  const valueInfo = (name: string, id: ValueId): object => {
    const t = typeOf(g, id);
    return { name, type: { tensorType: { elemType: ONNX_TYPE[t.dtype], shape: { dim: t.shape.map((d) => ({ dimValue: d })) } } } };
  };
  // An input or a constant cannot be a graph output itself: it goes through an Identity.
  const produced = new Set(g.nodes.filter((n) => !isConst(n)).flatMap((n) => n.outputs));
  const output = [...new Set(outputs)].map((id) => {
    const from = quantized?.read(id) ?? id;
    const name = portName(id) !== id ? portName(id) : produced.has(id) && from === id ? id : `$out.${id}`;
    if (name !== id) context.emit('Identity', [from], [name]);
    return valueInfo(name, id);
  });
  const model = onnx.ModelProto.create({
    irVersion: 9,
    producerName: 'bitloom',
    opsetImport: [{ domain: '', version: EXPORT_OPSET }],
    metadataProps: [...metadata].map(([key, value]) => ({ key, value })),
    graph: { name: g.name, node, initializer, input: g.inputs.map((id) => valueInfo(portName(id), id)), output },
  } as never);
  return onnx.ModelProto.encode(model).finish();
}
