import { fail } from '@bitloom/diagnostics';
import type { Tensor } from '@bitloom/tensor';
import { IdPool } from './ids.js';
import { FLOAT, isConst, type Graph, type Node, type Phase, type Precision, type TensorType, type Value, type ValueId } from './graph.js';

/** What the builder must know of an operation: its output types and checked attributes. `@bitloom/ops` implements it. */
export interface OpTable {
  /** @throws E402 for an unknown op or bad attributes, E204 where the input types do not fit. */
  infer(op: string, inputs: readonly TensorType[], attrs: unknown, origin: string): readonly TensorType[];
}

export interface AddOptions {
  /** ONNX node name; defaults to the builder's current {@link GraphBuilder.origin}. */
  origin?: string;
  /** ONNX value names of the outputs. */
  names?: readonly string[];
  precision?: readonly Precision[];
}

/** Builds a graph node by node; nodes can only use values that exist, so the order is topological by construction. */
export class GraphBuilder {
  private readonly values = new Map<ValueId, Value>();
  private readonly nodes: Node[] = [];
  private readonly inputIds: ValueId[] = [];
  private readonly ids = new IdPool();
  private readonly constants = new Map<ValueId, Tensor>();
  /** Origin given to nodes that do not state one. */
  origin = '';

  constructor(readonly name: string, private readonly ops: OpTable, private readonly phase: Phase = 'float') {}

  /** Continues from a graph: its values, nodes and inputs are taken over unchanged. */
  static from(g: Graph, ops: OpTable): GraphBuilder {
    const b = new GraphBuilder(g.name, ops, g.phase);
    for (const [id, v] of g.values) {
      b.values.set(id, v);
      b.ids.reserve(id);
    }
    for (const n of g.nodes) {
      b.nodes.push(n);
      if (isConst(n)) b.constants.set(n.outputs[0], n.attrs.data);
    }
    b.inputIds.push(...g.inputs);
    return b;
  }

  private define(name: string, type: TensorType, precision: Precision): ValueId {
    const id = this.ids.fresh(name);
    this.values.set(id, { id, name, type, precision });
    return id;
  }

  input(name: string, type: TensorType, precision: Precision = FLOAT): ValueId {
    const id = this.define(name, type, precision);
    this.inputIds.push(id);
    return id;
  }

  const(data: Tensor, name = 'c', precision: Precision = FLOAT): ValueId {
    const id = this.define(name, { dtype: data.dtype, shape: data.shape }, precision);
    this.nodes.push({ op: 'const', inputs: [], outputs: [id], attrs: { data }, origin: this.origin });
    this.constants.set(id, data);
    return id;
  }

  /** Adds a node with one output. */
  add(op: string, inputs: readonly ValueId[], attrs: unknown = {}, options: AddOptions = {}): ValueId {
    return this.addMany(op, inputs, attrs, options)[0];
  }

  /** Adds a node and returns all its outputs. */
  addMany(op: string, inputs: readonly ValueId[], attrs: unknown = {}, options: AddOptions = {}): ValueId[] {
    const origin = options.origin ?? this.origin;
    const types = this.ops.infer(op, inputs.map((i) => this.typeOf(i)), attrs, origin);
    const outputs = types.map((t, i) => this.define(options.names?.[i] ?? `${op}`, t, options.precision?.[i] ?? FLOAT));
    this.nodes.push({ op, inputs: [...inputs], outputs, attrs, origin });
    return outputs;
  }

  typeOf(id: ValueId): TensorType {
    const v = this.values.get(id);
    if (!v) fail('E901', `builder of ${this.name} has no value %${id}`);
    return v.type;
  }

  shapeOf(id: ValueId): readonly number[] {
    return this.typeOf(id).shape;
  }

  /** Constant data, if the value is one. */
  constantOf(id: ValueId): Tensor | null {
    return this.constants.get(id) ?? null;
  }

  build(outputs: readonly ValueId[]): Graph {
    return { name: this.name, phase: this.phase, values: new Map(this.values), nodes: [...this.nodes], inputs: [...this.inputIds], outputs: [...outputs] };
  }
}
