import { fail } from '@bitloom/diagnostics';
import { type AddOptions, type Graph, GraphBuilder, IdPool, type Node, type Value, type ValueId } from '@bitloom/ir';
import type { QuantParams } from '@bitloom/numerics';
import { getOp, opTable } from '@bitloom/ops';
import { type Tensor, elementCount } from '@bitloom/tensor';

/** Results above this many elements are left to run time unless they are no larger than what they are computed from. */
const MAX_FOLDED = 2 ** 22;
const MAX_NODES = 2 ** 18;
/** Bytes of all constants together: bounds what folding can make of a small file. */
const MAX_CONSTANT_BYTES = 2 ** 31;
/** Products computed to fold one node. */
const MAX_PRODUCTS = 2 ** 28;

/** Ops whose results cannot be negative, and those of which they cannot where their operands are not. */
const NON_NEGATIVE = new Set(['relu', 'sigmoid', 'softmax', 'abs']);
const KEEPS_SIGN = new Set(['max_pool', 'avg_pool', 'add', 'concat', 'reshape', 'transpose', 'slice']);

/** Multiplications behind each element of a contraction; 1 for other ops. */
function products(op: string, [, w]: readonly Tensor[]): number {
  if (op === 'linear' || op === 'conv') return w.data.length / Math.max(1, w.shape[0]);
  if (op === 'matmul') return w.shape[w.shape.length - 2];
  return op === 'conv_transpose' ? w.data.length / Math.max(1, w.shape[1]) : 1;
}

/** A quantised value that has not been used yet as an integer: where it came from, so that a DequantizeLinear can undo it. */
export interface Quantized {
  readonly real: ValueId;
  readonly scale: number;
  readonly zeroPoint: number;
  readonly bits: number;
  readonly signed: boolean;
}

/** Weight parameters with one scale per index of axis 0, the only form that weights have; null where the scales lie along another axis. */
function perRow(p: QuantParams, shape: readonly number[]): QuantParams | null {
  if (p.scheme.axis === 0) return p;
  const rows = shape[0] ?? 0;
  if (p.scheme.axis !== null || rows === 0) return null;
  return { scheme: { ...p.scheme, axis: 0 }, scale: new Float32Array(rows).fill(p.scale[0]), zeroPoint: new Int32Array(rows) };
}

/** Graph builder of the importer: what depends on constants only becomes a constant at once. */
export class FoldingBuilder extends GraphBuilder {
  /** Parameters that the model states for float values through QuantizeLinear and DequantizeLinear. */
  readonly annotations = new Map<ValueId, QuantParams>();
  readonly quantized = new Map<ValueId, Quantized>();
  /** Bit width of values whose ONNX type is narrower than the type that holds them (INT4, UINT4, INT2, UINT2, FLOAT8*, FLOAT4*). */
  readonly narrow = new Map<ValueId, number>();
  private readonly positive = new Set<ValueId>();
  private count = 0;
  private readonly buffers = new Set<ArrayBufferLike>();
  private bytes = 0;

  /** @param batch set when a leading dimension of 1 has been replaced: reshapes to `[1, …]` then keep the leading dimension */
  constructor(name: string, readonly batch: number | null) {
    super(name, opTable);
  }

  override const(data: Tensor, name?: string): ValueId {
    if (!this.buffers.has(data.data.buffer)) {
      this.buffers.add(data.data.buffer);
      this.bytes += data.data.byteLength;
      if (this.bytes > MAX_CONSTANT_BYTES) fail('E206', 'constants too large', { node: this.origin, expected: `at most ${MAX_CONSTANT_BYTES} bytes in all` });
    }
    return super.const(data, name);
  }

  /** Whether a value is known not to be negative from the ops that make it. */
  nonNegative(id: ValueId): boolean {
    return this.positive.has(id);
  }

  override addMany(op: string, inputs: readonly ValueId[], attrs: unknown = {}, options: AddOptions = {}): ValueId[] {
    if (++this.count > MAX_NODES) fail('E206', 'graph too large', { node: this.origin, expected: `at most ${MAX_NODES} nodes after functions are inlined` });
    const data = inputs.map((i) => this.constantOf(i));
    if (data.every((t) => t !== null)) {
      const types = opTable.infer(op, data, attrs, options.origin ?? this.origin);
      const size = types.reduce((n, t) => n + elementCount(t.shape, this.origin), 0);
      if (size <= Math.max(MAX_FOLDED, data.reduce((n, t) => n + t.data.length, 0)) && size * products(op, data) <= MAX_PRODUCTS) {
        const def = getOp(op);
        const results = def.evaluate(data, def.attrs.parse(attrs), types);
        const ids = results.map((t, i) => this.const(t, options.names?.[i] ?? 'c'));
        if (op === 'transpose') this.moveAnnotation(inputs[0], ids[0], (attrs as { perm: readonly number[] }).perm);
        return ids;
      }
    }
    const outputs = super.addMany(op, inputs, attrs, options);
    const rectifies = NON_NEGATIVE.has(op) || (op === 'clip' && (attrs as { min: number }).min >= 0);
    for (const id of outputs) {
      elementCount(this.shapeOf(id), this.origin);
      if (rectifies || (KEEPS_SIGN.has(op) && inputs.every((i) => this.positive.has(i)))) this.positive.add(id);
    }
    return outputs;
  }

  /** Parameters of weights follow them through a transposition. */
  private moveAnnotation(from: ValueId, to: ValueId, perm: readonly number[]): void {
    const p = this.annotations.get(from);
    if (p) this.annotations.set(to, { ...p, scheme: { ...p.scheme, axis: p.scheme.axis === null ? null : perm.indexOf(p.scheme.axis) } });
  }

  /**
   * The graph without dead nodes, its values named as in the model.
   * @param outputs graph outputs by ONNX name
   * @param names ONNX names of values
   */
  finish(outputs: readonly (readonly [string, ValueId])[], names: ReadonlyMap<ValueId, string>): { graph: Graph; annotations: Map<ValueId, QuantParams> } {
    const named = new Map(names);
    const taken = new Set(this.build([]).inputs);
    const results = outputs.map(([name, id]) => {
      // An input or a value that is already an output keeps its name; another name needs another value.
      const out = taken.has(id) && named.get(id) !== name ? super.addMany('identity', [id], {}, { origin: name })[0] : id;
      taken.add(out);
      named.set(out, name);
      return out;
    });
    const full = this.build(results);

    const live = new Set<ValueId>([...full.inputs, ...results]);
    const nodes = full.nodes.toReversed().filter((n) => {
      const used = n.outputs.some((o) => live.has(o));
      if (used) for (const i of n.inputs) live.add(i);
      return used;
    }).reverse();
    for (const n of nodes) for (const o of n.outputs) live.add(o);

    // Names of the model come first, so that intermediates do not take them.
    const order = [...full.values.values()].filter((v) => live.has(v.id));
    const nameOf = (id: ValueId): string => named.get(id) ?? full.values.get(id)!.name;
    const pool = new IdPool();
    const first = new Set([...full.inputs, ...results, ...order.map((v) => v.id).filter((id) => named.has(id)), ...order.map((v) => v.id)]);
    const ids = new Map([...first].map((id) => [id, pool.fresh(nameOf(id))]));
    const values = new Map(order.map((v): [ValueId, Value] => [ids.get(v.id)!, { ...v, id: ids.get(v.id)!, name: nameOf(v.id) }]));
    const to = (list: readonly ValueId[]): ValueId[] => list.map((i) => ids.get(i)!);
    return {
      graph: {
        name: this.name,
        phase: 'float',
        values,
        nodes: nodes.map((n): Node => ({ ...n, inputs: to(n.inputs), outputs: to(n.outputs) })),
        inputs: to(full.inputs),
        outputs: to(results),
      },
      annotations: new Map([...this.annotations].filter(([id]) => live.has(id)).flatMap(([id, p]) => {
        const legal = p.scheme.signed ? perRow(p, this.shapeOf(id)) : p;
        return legal ? [[ids.get(id)!, legal] as const] : [];
      })),
    };
  }
}
