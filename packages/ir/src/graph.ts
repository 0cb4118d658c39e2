/** The graph: typed values, nodes in topological order. Everything is readonly; passes return new graphs. */
import { fail } from '@bitloom/diagnostics';
import type { QuantParams, QuantScheme } from '@bitloom/numerics';
import type { DType, Tensor } from '@bitloom/tensor';

/** Unique within a graph, printable without quotes: [A-Za-z0-9_.$-]+. */
export type ValueId = string;

export interface TensorType {
  readonly dtype: DType;
  readonly shape: readonly number[];
}

/** Narrows, never widens: float → candidates → chosen → calibrated. */
export type Precision =
  | { readonly state: 'float' }
  | { readonly state: 'candidates'; readonly schemes: readonly QuantScheme[] }
  | { readonly state: 'chosen'; readonly scheme: QuantScheme }
  | { readonly state: 'calibrated'; readonly params: QuantParams };

export const FLOAT: Precision = { state: 'float' };

export interface Value {
  readonly id: ValueId;
  /** The ONNX value it came from. */
  readonly name: string;
  readonly type: TensorType;
  readonly precision: Precision;
}

/** `origin` is the ONNX node's name (or the pass that made it). A constant is a node `const` with attrs {@link ConstAttrs}. */
export interface Node<A = unknown> {
  readonly op: string;
  readonly inputs: readonly ValueId[];
  readonly outputs: readonly ValueId[];
  readonly attrs: A;
  readonly origin: string;
}

export interface ConstAttrs {
  readonly data: Tensor;
}

export type Phase = 'float' | 'candidates' | 'chosen' | 'calibrated';
export const PHASES: readonly Phase[] = ['float', 'candidates', 'chosen', 'calibrated'];

export interface Graph {
  readonly name: string;
  readonly phase: Phase;
  readonly values: ReadonlyMap<ValueId, Value>;
  readonly nodes: readonly Node[];
  readonly inputs: readonly ValueId[];
  readonly outputs: readonly ValueId[];
}

export const isConst = (n: Node): n is Node<ConstAttrs> => n.op === 'const';

/** Value by id. Ids come from the graph itself, so a missing one is an internal error. */
export function valueOf(g: Graph, id: ValueId): Value {
  return g.values.get(id) ?? fail('E901', `graph ${g.name} has no value %${id}`);
}

export const typeOf = (g: Graph, id: ValueId): TensorType => valueOf(g, id).type;

/** Node that produces each value (graph inputs are absent). */
export function producers(g: Graph): Map<ValueId, Node> {
  return new Map(g.nodes.flatMap((n) => n.outputs.map((o) => [o, n] as const)));
}

/** Nodes that read each value, in order, once per node. */
export function consumers(g: Graph): Map<ValueId, Node[]> {
  const map = new Map<ValueId, Node[]>();
  for (const n of g.nodes) {
    for (const i of new Set(n.inputs)) {
      const users = map.get(i);
      if (users) users.push(n);
      else map.set(i, [n]);
    }
  }
  return map;
}

/** Data of a value that a `const` node makes, else null. */
export function constantData(producer: ReadonlyMap<ValueId, Node>, id: ValueId): Tensor | null {
  const n = producer.get(id);
  return n && isConst(n) ? n.attrs.data : null;
}

/** The same graph with the precision of some values replaced. */
export function withPrecision(g: Graph, phase: Phase, precision: ReadonlyMap<ValueId, Precision>): Graph {
  const values = new Map([...g.values].map(([id, v]) => [id, precision.has(id) ? { ...v, precision: precision.get(id)! } : v]));
  return { ...g, phase, values };
}
