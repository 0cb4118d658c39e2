/** Lowering: graph to Program. Integer arithmetic appears here and nowhere earlier. */
import { fail } from '@bitloom/diagnostics';
import { type Graph, type Node, type TensorType, type ValueId, constantData, consumers, isConst, producers, typeOf, valueOf } from '@bitloom/ir';
import { type BufferDef, type BufferId, type Expr, type KernelCall, NestBuilder, type Port, type Program } from '@bitloom/kernel-spec';
import { type QuantParams, fakeQuantize } from '@bitloom/numerics';
import { type Lowering, type Operand, channelsLastStrides, getOp, sameParams, writtenOutputs } from '@bitloom/ops';
import { type DType, type Tensor, type TypedArray, elementCount, rowMajorStrides, sameShape } from '@bitloom/tensor';
import { type Cluster, isPointwise, pointwiseClusters } from './clusters.js';
import { layersOf } from './precision.js';
import { reciprocal } from './reciprocal.js';
import { joinStreams } from './streams.js';

/** Where a value lies: a buffer, and how its logical elements map into it. */
interface Storage {
  readonly buffer: BufferId;
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly strides: readonly number[];
  readonly quant: QuantParams | null;
}

const dequantized = (t: Tensor, q: QuantParams): Tensor => ({ ...t, data: fakeQuantize(t.data as Float32Array, t.shape, q) });

/** True when stride lists describe the same order for every axis longer than 1. */
const sameOrder = (shape: readonly number[], a: readonly number[], b: readonly number[]): boolean => shape.every((n, i) => n === 1 || a[i] === b[i]);

/** Ops through which the channels-last layout of a convolution spreads to its neighbours. */
const SPREADS = new Set(['concat', 'pad', 'slice', 'resize', 'reduce_sum', 'reduce_max', 'reduce_min', 'expand']);

/** Values stored channels-last: those at convolutions and pools, and what touches them through elementwise and similar ops. */
function channelsLastValues(g: Graph): Set<ValueId> {
  const producer = producers(g);
  const fits = (id: ValueId): boolean => typeOf(g, id).shape.length >= 3 && constantData(producer, id) === null;
  const found = new Set<ValueId>();
  for (const n of g.nodes) if (!isConst(n) && getOp(n.op, n.origin).channelsLast) [n.inputs[0], n.outputs[0]].filter(fits).forEach((v) => found.add(v));
  for (let size = -1; size !== found.size; ) {
    size = found.size;
    for (const n of g.nodes) {
      if (isConst(n) || !(isPointwise(n) || SPREADS.has(n.op))) continue;
      const touched = [...n.inputs, ...n.outputs].filter(fits);
      const rank = typeOf(g, n.outputs[0]).shape.length;
      if (touched.some((v) => found.has(v))) touched.filter((v) => typeOf(g, v).shape.length === rank).forEach((v) => found.add(v));
    }
  }
  // A fully connected layer multiplies row-major rows.
  for (const n of g.nodes) if (n.op === 'linear') found.delete(n.outputs[0]);
  return found;
}

/** How often a matrix product reads each element of an operand: the columns of the other, or its rows. */
function timesRead(g: Graph, { inputs }: Node, operand: number): number {
  const other = typeOf(g, inputs[1 - operand]).shape;
  return other[other.length - (operand === 0 ? 1 : 2)];
}
/** Codes that are read as often are decoded beforehand. */
const DECODED = 4;

/**
 * The network as kernel calls. Values with calibrated precision are stored as u8 codes; convolutions and fully connected
 * layers whose input and weights are calibrated compute in integers, everything else in f32 on decoded codes.
 * @throws E601 for an op that cannot be lowered, E602 where an accumulator could overflow
 */
export function lowerGraph(graph: Graph): Program {
  const g = joinStreams(graph);
  const producer = producers(g);
  const clusters = pointwiseClusters(g);
  const inCluster = new Set([...clusters.values()].flatMap((c) => c.members));
  const channelsLast = channelsLastValues(g);
  const buffers: BufferDef[] = [];
  const calls: KernelCall[] = [];
  const storage = new Map<ValueId, Storage>();
  const constants = new Map<ValueId, Storage>();
  // Of constants, made at the end for those in use: most weights are replaced by packed forms.
  const contents = new Map<BufferId, () => TypedArray>();

  const buffer = (
    name: string, dtype: DType, shape: readonly number[], strides: readonly number[], quant: QuantParams | null, data: TypedArray | null,
  ): Storage => {
    buffers.push({ name, dtype, shape, strides, elements: elementCount(shape), quant, data });
    return { buffer: buffers.length - 1, dtype, shape, strides, quant };
  };
  const quantOf = (id: ValueId): QuantParams | null => {
    const p = valueOf(g, id).precision;
    return p.state === 'calibrated' ? p.params : null;
  };
  const stridesOf = (id: ValueId): number[] => (channelsLast.has(id) ? channelsLastStrides : rowMajorStrides)(typeOf(g, id).shape);
  const allocate = (id: ValueId): Storage => {
    const v = valueOf(g, id);
    const q = quantOf(id);
    const s = buffer(v.name, q ? 'u8' : v.type.dtype, v.type.shape, stridesOf(id), q, null);
    storage.set(id, s);
    return s;
  };
  const constant = (id: ValueId, t: Tensor): Storage => {
    let s = constants.get(id);
    if (!s) {
      const q = quantOf(id);
      s = buffer(valueOf(g, id).name, t.dtype, t.shape, rowMajorStrides(t.shape), null, null);
      contents.set(s.buffer, () => (q ? dequantized(t, q) : t).data);
      constants.set(id, s);
    }
    return s;
  };
  const at = (id: ValueId): Storage => {
    const t = constantData(producer, id);
    return t ? constant(id, t) : (storage.get(id) ?? fail('E901', `value %${id} has no storage`));
  };
  const viewOf = (s: Storage, operand: number): Storage & { operand: number } => ({ ...s, operand });
  const operandsOf = (all: readonly Storage[]): { dtype: DType; elements: number }[] => all.map((s) => ({ dtype: s.dtype, elements: elementCount(s.shape) }));

  /** Elementwise copy between two storages of one logical tensor: layout change, encoding, decoding. */
  const convert = (from: Storage, to: Storage, origin: string): void => {
    const raw = sameParams(from.quant, to.quant);
    const [src, dst] = [viewOf(raw ? { ...from, quant: null } : from, 0), viewOf(raw ? { ...to, quant: null } : to, 1)];
    const b = new NestBuilder(operandsOf([from, to]));
    b.elementwise(dst, [src], ([x]) => x);
    calls.push({ family: 'nest', params: b.build(), args: [from.buffer], results: [to.buffer], origin });
  };

  const users = consumers(g);
  /** Nodes of calls that came before their turn. */
  const made = new Set<Node>();
  /** `requantize` nodes that read an elementwise result: its loop makes what they give. */
  const copiesOf = (id: ValueId): Node[] => (quantOf(id) === null ? [] : (users.get(id) ?? []).filter((n) =>
    n.op === 'requantize' && clusters.has(n) && quantOf(n.outputs[0]) !== null && sameOrder(typeOf(g, id).shape, stridesOf(id), stridesOf(n.outputs[0]))));

  const lowerCluster = (c: Cluster): void => {
    const [result] = c.root.outputs;
    const out = allocate(result);
    const ins = c.leaves.map(at);
    const copies = copiesOf(result);
    copies.forEach((n) => made.add(n));
    const results = [out, ...copies.map((n) => allocate(n.outputs[0]))];
    const maker = new Map(c.members.map((m) => [m.outputs[0], m]));
    const scalar = (b: NestBuilder, args: readonly Expr[]): Expr => {
      // Every operand gets a name: a scalar may use one several times.
      const known = new Map<ValueId, Expr>(c.leaves.map((l, i) => [l, b.let(args[i])]));
      const value = (id: ValueId): Expr => {
        const done = known.get(id);
        if (done) return done;
        const m = maker.get(id)!;
        const x = getOp(m.op, m.origin).scalar!(m.inputs.map(value), m.attrs, typeOf(g, id).dtype, m.inputs.map((i) => typeOf(g, i).dtype));
        if (id === result) return x;
        known.set(id, b.let(x));
        return known.get(id)!;
      };
      return value(result);
    };
    const b = new NestBuilder(operandsOf([...ins, ...results]));
    const [first, ...others] = results.map((s, i) => viewOf(s, ins.length + i));
    const factor = out.quant && reciprocal(out.quant, ins.map((s) => s.quant), scalar);
    b.elementwise({ ...first, reciprocal: factor }, ins.map(viewOf), (args) => scalar(b, args),
      others.map((v) => ({ ...v, reciprocal: reciprocal(v.quant!, [out.quant], (_, [x]) => x) })));
    calls.push({ family: 'nest', params: b.build(), args: ins.map((s) => s.buffer), results: results.map((s) => s.buffer), origin: c.root.origin });
  };

  /** A reshape, transpose or identity that moves no element shares its input's buffer. */
  const alias = (n: Node): boolean => {
    const [x, y] = [n.inputs[0], n.outputs[0]];
    const src = storage.get(x);
    if (!src || g.inputs.includes(x) || g.outputs.includes(y) || !sameParams(src.quant, quantOf(y))) return false;
    const type = typeOf(g, y);
    const strides = stridesOf(y);
    const rowMajor = (shape: readonly number[], s: readonly number[]): boolean => sameOrder(shape, s, rowMajorStrides(shape));
    const same =
      n.op === 'reshape' ? rowMajor(src.shape, src.strides) && rowMajor(type.shape, strides)
      : n.op === 'transpose' ? sameOrder(type.shape, strides, (n.attrs as { perm: number[] }).perm.map((p) => src.strides[p]))
      : n.op === 'identity' && sameOrder(type.shape, strides, src.strides);
    if (same) storage.set(y, { ...src, shape: type.shape, strides });
    return same;
  };

  const names = new Map(layersOf(g).map((l) => [l.node, l.name]));
  const packed = new Map<string, BufferId>();
  const lowerNode = (n: Node): void => {
    const op = getOp(n.op, n.origin);
    const origin = names.get(n) ?? n.origin;
    const isMac = n.op === 'conv' || n.op === 'linear';
    // Integers need constant quantised weights and, for the offsets, a constant bias.
    const integer = isMac && quantOf(n.inputs[1]) !== null && n.inputs.slice(1).every((i) => constantData(producer, i) !== null);
    const operand = (id: ValueId, i: number): { storage: Storage; operand: Operand } => {
      let s = at(id);
      const type: TensorType = typeOf(g, id);
      const wanted =
        i === 0 && op.channelsLast && type.shape.length >= 3 ? channelsLastStrides(type.shape)
        : i === 0 && n.op === 'linear' ? rowMajorStrides(type.shape)
        : s.strides;
      let known = constantData(producer, id);
      const decode = s.quant !== null && (isMac ? i === 0 && !integer : n.op === 'matmul' && timesRead(g, n, i) >= DECODED);
      if (decode || !sameOrder(type.shape, wanted, s.strides)) {
        const t = buffer(`${valueOf(g, id).name}.converted`, decode ? type.dtype : s.dtype, type.shape, wanted, decode ? null : s.quant, null);
        convert(s, t, origin);
        s = t;
        known = null;
      }
      return { storage: s, operand: { ...s, elements: elementCount(s.shape), constant: known, weight: known ? quantOf(id) : null } };
    };
    const ins = n.inputs.map(operand);
    const outs = n.outputs.map((id) => allocate(id));
    // Integer weights without integer activations count as floats.
    const floats = isMac && !ins[0].operand.quant;
    const inputs = ins.map(({ operand: o }) => (floats && o.constant && o.weight ? { ...o, weight: null, constant: dequantized(o.constant, o.weight) } : o));
    const outputs = writtenOutputs(op, { attrs: n.attrs, inputs, outputs: outs.map((s) => ({ ...s, elements: elementCount(s.shape), constant: null, weight: null })) });
    const written = outs.map((s, i) => (outputs[i].quant === s.quant ? s : buffer(`${valueOf(g, n.outputs[i]).name}.partial`, outputs[i].dtype, s.shape, s.strides, null, null)));
    const lowered: Lowering = op.lower({ attrs: n.attrs, inputs, outputs });
    const args = lowered.args.map((a): BufferId => {
      if (typeof a === 'number') return ins[a].storage.buffer;
      // Layers with the same weights share the packed form.
      const key = a.name === 'weight' ? [n.inputs[1], n.op, lowered.body.family, a.dtype, a.shape].join() : null;
      const known = key === null ? undefined : packed.get(key);
      if (known !== undefined) return known;
      const made = buffer(`${origin}.${a.name}`, a.dtype, a.shape, rowMajorStrides(a.shape), null, a.data).buffer;
      if (key !== null) packed.set(key, made);
      return made;
    });
    calls.push({ ...lowered.body, args, results: written.map((s) => s.buffer), origin });
    // Codes of rows that were accumulated: two nests along rows take less time than one that makes a result after the other.
    written.forEach((s, i) => {
      if (s !== outs[i]) convert(s, outs[i], origin);
    });
  };

  const inputs: Port[] = g.inputs.map((id) => {
    const { name, type } = valueOf(g, id);
    const port = buffer(name, type.dtype, type.shape, rowMajorStrides(type.shape), null, null);
    if (quantOf(id) || !sameOrder(type.shape, port.strides, stridesOf(id))) convert(port, allocate(id), `input ${name}`);
    else storage.set(id, port);
    return { name, buffer: port.buffer };
  });
  for (const n of g.nodes) {
    if (isConst(n) || made.has(n)) continue;
    const cluster = clusters.get(n);
    if (cluster) lowerCluster(cluster);
    else if (!inCluster.has(n) && !alias(n)) lowerNode(n);
  }
  const outputs: Port[] = g.outputs.map((id) => {
    const { name, type } = valueOf(g, id);
    const s = at(id);
    if (s.quant === null && sameShape(s.shape, type.shape) && sameOrder(type.shape, s.strides, rowMajorStrides(type.shape)) && !g.inputs.includes(id)) {
      return { name, buffer: s.buffer };
    }
    const port = buffer(name, type.dtype, type.shape, rowMajorStrides(type.shape), null, null);
    convert(s, port, `output ${name}`);
    return { name, buffer: port.buffer };
  });
  return { ...pruned({ buffers, calls, inputs, outputs }, contents), name: g.name };
}

/** Drops buffers that nothing uses (weights replaced by packed forms), renumbers the rest, and fills in `contents`. */
function pruned(p: Omit<Program, 'name'>, contents: ReadonlyMap<BufferId, () => TypedArray>): Omit<Program, 'name'> {
  const used = new Set<BufferId>([...p.inputs, ...p.outputs].map((q) => q.buffer));
  for (const c of p.calls) [...c.args, ...c.results].forEach((b) => used.add(b));
  const ids = p.buffers.map((_, i) => i).filter((i) => used.has(i));
  const to = new Map(ids.map((old, now) => [old, now]));
  const map = (b: BufferId): BufferId => to.get(b)!;
  return {
    buffers: ids.map((i) => ({ ...p.buffers[i], data: contents.get(i)?.() ?? p.buffers[i].data })),
    calls: p.calls.map((c) => ({ ...c, args: c.args.map(map), results: c.results.map(map) })),
    inputs: p.inputs.map((q) => ({ ...q, buffer: map(q.buffer) })),
    outputs: p.outputs.map((q) => ({ ...q, buffer: map(q.buffer) })),
  };
}
