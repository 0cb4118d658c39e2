/** One pass over a model: scopes, order, functions and subgraphs; operators are left to their importers. */
import { BitloomError, fail } from '@bitloom/diagnostics';
import type { Graph, ValueId } from '@bitloom/ir';
import type { QuantParams } from '@bitloom/numerics';
import { type Tensor, elementCount, isFloat } from '@bitloom/tensor';
import { Attributes } from './attributes.js';
import { ONNX_TYPES, isNarrow, onnxType } from './data-types.js';
import { FoldingBuilder } from './folding.js';
import { IMPORTERS } from './import/index.js';
import type { ImportOptions } from './input-shapes.js';
import { OnnxNode } from './node.js';
import {
  type AttributeProto, type FunctionProto, type GraphProto, type ModelProto, type NodeProto, domainOf, initializerNames, numberOf, opsetsOf,
} from './proto.js';
import { readSparse, readTensor } from './tensor-proto.js';

export const OPSET_MIN = 7;
export const OPSET_MAX = 28;

/** Operators whose constant float inputs are weights, where NaN and infinity are an error rather than a mask. */
const WEIGHTED = new Set([
  'Conv', 'ConvTranspose', 'Gemm', 'MatMul', 'BatchNormalization', 'InstanceNormalization', 'LayerNormalization', 'GroupNormalization',
  'RMSNormalization', 'PRelu', 'RNN', 'GRU', 'LSTM',
]);

interface Unsupported {
  readonly node: string;
  readonly op: string;
  readonly reason: string;
}

/** Names visible in a graph, function body or subgraph. A null value could not be imported. */
class Scope {
  readonly values = new Map<string, ValueId | null>();
  /** Tensors of the file that nothing has asked for yet. */
  readonly pending = new Map<string, () => Tensor>();
  constructor(readonly parent: Scope | null) {}

  find(name: string): Scope | null {
    return this.values.has(name) || this.pending.has(name) ? this : (this.parent?.find(name) ?? null);
  }
}

const MAX_DEPTH = 64;
const filled = (list: readonly string[] | null | undefined): string[] => (list ?? []).filter((s) => s !== '');

/** Outer names that a graph reads. */
function freeNames(g: GraphProto): Set<string> {
  const own = new Set([...initializerNames(g), ...(g.input ?? []).map((v) => v.name ?? ''), ...(g.node ?? []).flatMap((n) => filled(n.output))]);
  const read = [...(g.node ?? []).flatMap((n) => [...readsOf(n)]), ...(g.output ?? []).map((v) => v.name ?? '')];
  return new Set(read.filter((name) => !own.has(name)));
}

function readsOf(n: NodeProto): Set<string> {
  const graphs = (n.attribute ?? []).flatMap((a) => [...(a.g ? [a.g] : []), ...(a.graphs ?? [])]);
  return new Set([...filled(n.input), ...graphs.flatMap((g) => [...freeNames(g)])]);
}

/** Nodes in an order where values are defined before use: the file's where that is one. @throws E207. */
function sorted(nodes: readonly NodeProto[], scope: Scope): { node: NodeProto; index: number }[] {
  const maker = new Map<string, number>();
  nodes.forEach((n, i) => {
    for (const o of filled(n.output)) {
      if (maker.has(o) || scope.values.has(o) || scope.pending.has(o)) fail('E207', 'a value is defined twice', { node: n.name || n.opType || '', found: o });
      maker.set(o, i);
    }
  });
  const waiting = nodes.map((n) => {
    const needs = new Set<number>();
    for (const name of readsOf(n)) {
      const from = maker.get(name);
      if (from !== undefined) needs.add(from);
      else if (!scope.find(name)) fail('E207', 'a value is used but not defined', { node: n.name || n.opType || '', found: name });
    }
    return needs;
  });
  if (waiting.every((needs, i) => [...needs].every((from) => from < i))) return nodes.map((node, index) => ({ node, index }));
  const users = nodes.map((): number[] => []);
  waiting.forEach((needs, i) => { for (const from of needs) users[from].push(i); });
  const order: { node: NodeProto; index: number }[] = [];
  let ready = nodes.flatMap((_, i) => (waiting[i].size === 0 ? [i] : []));
  while (ready.length > 0) {
    const next: number[] = [];
    for (const i of ready) {
      order.push({ node: nodes[i], index: i });
      for (const u of users[i]) {
        waiting[u].delete(i);
        if (waiting[u].size === 0) next.push(u);
      }
    }
    ready = next.sort((p, q) => p - q);
  }
  if (order.length < nodes.length) {
    const stuck = nodes.flatMap((n, i) => (waiting[i].size > 0 ? [n.name || `${n.opType ?? ''}_${i}`] : []));
    fail('E207', 'the graph has a cycle', { node: stuck[0], found: stuck.slice(0, 8).join(', ') });
  }
  return order;
}

/** What the nodes of a graph, function body or subgraph have in common. */
interface Frame {
  readonly scope: Scope;
  /** Before the names of the nodes. */
  readonly prefix: string;
  readonly opsets: ReadonlyMap<string, number>;
  readonly depth: number;
  /** Attributes of the function call that `ref_attr_name` refers to. */
  readonly refs: ReadonlyMap<string, AttributeProto>;
}

/** One pass over a model. */
export class ModelImport {
  readonly b: FoldingBuilder;
  private readonly names = new Map<ValueId, { readonly name: string; readonly depth: number }>();
  readonly unsupported: Unsupported[] = [];
  /** Run-time inputs that some importer needed as constants. */
  readonly wanted = new Set<string>();
  private deferred: BitloomError | null = null;
  /** Names given to nodes, with the next suffix to try for each. */
  private readonly origins = new Map<string, number>();
  private readonly functions: ReadonlyMap<string, FunctionProto>;

  constructor(private readonly model: ModelProto, private readonly options: ImportOptions, batch: number | null) {
    this.b = new FoldingBuilder(model.graph!.name || (options.name ?? 'model'), batch);
    this.functions = new Map((model.functions ?? []).map((f) => [`${domainOf(f.domain)}::${f.name ?? ''}`, f]));
  }

  run(shapes: ReadonlyMap<string, readonly number[]>): { graph: Graph; annotations: Map<ValueId, QuantParams> } {
    const g = this.model.graph!;
    const scope = new Scope(null);
    this.declareTensors(g, scope);
    for (const v of g.input ?? []) {
      const name = v.name ?? '';
      if (scope.pending.has(name)) continue;
      if (name === '' || scope.values.has(name)) fail('E207', 'an input is declared twice or has no name', { node: name });
      const fixed = this.options.constants?.get(name);
      const type = onnxType(v.type?.tensorType?.elemType, name);
      const id = fixed ? this.b.const(fixed, name) : this.b.input(name, { dtype: type.dtype, shape: shapes.get(name)! });
      if (isNarrow(type)) this.b.narrow.set(id, type.bits);
      this.name(id, name, 0);
      scope.values.set(name, id);
    }
    this.nodes(g.node ?? [], { scope, prefix: '', opsets: opsetsOf(this.model.opsetImport), depth: 0, refs: new Map() });
    const results = (g.output ?? []).map((v) => [v.name ?? '', this.lookup(v.name ?? '', scope)] as const);
    this.report();
    return this.b.finish(results.map(([name, id]) => [name, id!] as const), new Map([...this.names].map(([id, { name }]) => [id, name])));
  }

  /** The first name stays, but for one given further out (the output of a function, rather than of its last node). */
  private name(id: ValueId, name: string, depth: number): void {
    const known = this.names.get(id);
    if (!known || known.depth > depth) this.names.set(id, { name, depth });
  }

  private report(): void {
    const n = this.unsupported.length;
    if (n === 0) {
      if (this.deferred) throw this.deferred;
      return;
    }
    // One entry for each thing that is missing: models repeat their operators.
    const nodes = new Map<string, string[]>();
    for (const u of this.unsupported) {
      const what = `${u.op}: ${u.reason}`;
      nodes.set(what, [...(nodes.get(what) ?? []), u.node]);
    }
    fail('E202', n === 1 ? '1 node is not supported' : `${n} nodes are not supported`, {
      node: this.unsupported[0].node,
      found: [...nodes].map(([what, [first, ...more]]) => `${first}${more.length > 0 ? ` and ${more.length} more` : ''} (${what})`).join('; '),
      expected: 'operators of docs/operators.md', remedy: 'export the model with these operators, or cut it before these nodes',
    });
  }

  private declareTensors(g: GraphProto, scope: Scope): void {
    const add = (name: string, read: () => Tensor): void => {
      if (name === '' || scope.pending.has(name)) fail('E207', 'an initializer is defined twice or has no name', { node: name });
      scope.pending.set(name, read);
    };
    for (const t of g.initializer ?? []) add(t.name ?? '', () => readTensor(t, t.name ?? '', this.options.folder));
    for (const t of g.sparseInitializer ?? []) add(t.values?.name ?? '', () => readSparse(t, this.options.folder));
    // Every header is checked, used or not, so that a hostile size is refused early.
    for (const t of g.initializer ?? []) elementCount((t.dims ?? []).map(numberOf), t.name ?? '');
    for (const t of g.initializer ?? []) {
      const type = ONNX_TYPES.get(t.dataType ?? 0);
      if (!type || !isNarrow(type)) continue;
      const id = this.lookup(t.name ?? '', scope);
      if (id !== null) this.b.narrow.set(id, type.bits);
    }
  }

  /** Value of a name; null when it could not be imported. The name must be visible. */
  private lookup(name: string, scope: Scope): ValueId | null {
    const home = scope.find(name);
    if (!home) fail('E207', 'a value is used but not defined', { node: name });
    const known = home.values.get(name);
    if (known !== undefined) return known;
    let id: ValueId | null = null;
    try {
      id = this.b.const(home.pending.get(name)!(), name);
      this.name(id, name, 0);
    } catch (error) {
      if (!(error instanceof BitloomError) || error.code !== 'E209') throw error;
      this.deferred ??= error;
    }
    home.values.set(name, id);
    return id;
  }

  private nodes(nodes: readonly NodeProto[], frame: Frame): void {
    if (frame.depth > MAX_DEPTH) fail('E207', 'functions or subgraphs are nested too deeply', { node: frame.prefix, expected: `at most ${MAX_DEPTH} levels` });
    for (const { node, index } of sorted(nodes, frame.scope)) this.node(node, this.originOf(node, index, frame.prefix), frame);
  }

  private originOf(node: NodeProto, index: number, prefix: string): string {
    const base = prefix + (node.name || `${node.opType ?? ''}_${index}`);
    let i = this.origins.get(base) ?? 0;
    let origin = i === 0 ? base : `${base}_${i}`;
    while (this.origins.has(origin)) origin = `${base}_${++i}`;
    this.origins.set(origin, 1);
    this.origins.set(base, i + 1);
    return origin;
  }

  private node(node: NodeProto, origin: string, frame: Frame): void {
    const { b } = this;
    const { scope, opsets, depth, refs } = frame;
    const domain = domainOf(node.domain);
    const op = node.opType ?? '';
    const key = domain === '' ? op : `${domain}::${op}`;
    const inputNames = node.input ?? [];
    const outputs = node.output ?? [];
    const attributes = (node.attribute ?? []).flatMap((a) => {
      if (!a.refAttrName) return [a];
      const given = refs.get(a.refAttrName);
      return given ? [{ ...given, name: a.name }] : [];
    });
    const lost = (reason: string | null): void => {
      if (reason !== null) this.unsupported.push({ node: origin, op: key, reason });
      for (const o of filled(outputs)) scope.values.set(o, null);
    };

    const fn = this.functions.get(`${domain}::${op}`);
    const importer = IMPORTERS.get(key);
    if (!fn && !importer) return lost(domain !== '' && !opsets.has(domain) ? 'unknown operator set' : 'unknown operator');
    b.origin = origin; // also of the initializers that this node is the first to use
    const inputs = inputNames.map((name) => (name === '' ? null : this.lookup(name, scope)));
    if (inputs.some((id, i) => id === null && inputNames[i] !== '')) return lost(null);
    if (!fn && WEIGHTED.has(op)) inputs.forEach((id, i) => this.checkWeights(id, inputNames[i]));
    const opset = opsets.get(domain) ?? 0;
    if (domain === '' && (opset < OPSET_MIN || opset > OPSET_MAX)) {
      fail('E209', 'operator set version is not supported', {
        node: origin,
        found: `opset ${opset}`,
        expected: `${OPSET_MIN} to ${OPSET_MAX}`,
        remedy: 'convert the model with the ONNX version converter',
      });
    }

    try {
      const emitted = fn
        ? this.call(fn, inputs, attributes, origin, depth)
        : importer!(new OnnxNode(b, op, origin, opset, new Attributes(attributes, origin), inputs, inputNames, outputs, {
            inline: (g, label, bound = []) => this.inline(g, bound, origin, {
              ...frame, scope: new Scope(scope), prefix: `${origin}/${label}/`, depth: depth + 1,
            }),
            readTensor: (p, name) => readTensor(p, name, this.options.folder),
            wanted: (name) => this.wanted.add(name),
          }));
      const results = typeof emitted === 'string' ? [emitted] : emitted;
      const missing = outputs.findIndex((o, i) => o !== '' && i >= results.length);
      if (missing >= 0) return lost(`output ${missing} (${outputs[missing]}) is not supported`);
      outputs.forEach((o, i) => {
        if (o === '') return;
        const id = results[i];
        scope.values.set(o, id);
        if (id !== null) this.name(id, depth === 0 ? o : `${origin}/${o}`, depth);
      });
    } catch (error) {
      if (!(error instanceof BitloomError) || !['E202', 'E209', 'E402'].includes(error.code)) throw error;
      lost(error.message + (error.code !== 'E202' && error.diagnostic.found ? ` (${error.diagnostic.found})` : ''));
    }
    return undefined;
  }

  private checkWeights(id: ValueId | null, name: string): void {
    const data = id === null ? null : this.b.constantOf(id);
    if (!data || !isFloat(data.dtype)) return;
    const at = (data.data as Float32Array).findIndex((v) => !Number.isFinite(v));
    if (at < 0) return;
    fail('E208', `weights ${name} contain NaN or infinity`, {
      node: name,
      found: `${data.data[at]} at element ${at}`,
      remedy: 'export the model again from a checkpoint with finite weights',
    });
  }

  /** The body of a local function, in place. */
  private call(fn: FunctionProto, inputs: readonly (ValueId | null)[], given: readonly AttributeProto[], origin: string, depth: number): (ValueId | null)[] {
    const scope = new Scope(null);
    (fn.input ?? []).forEach((name, i) => {
      const id = inputs[i] ?? null;
      if (id !== null) scope.values.set(name, id);
    });
    const optional = new Set((fn.input ?? []).filter((_, i) => (inputs[i] ?? null) === null));
    const body = (fn.node ?? []).map((n) => ({ ...n, input: (n.input ?? []).map((name) => (optional.has(name) ? '' : name)) }));
    const refs = new Map(given.map((a) => [a.name ?? '', a]));
    this.nodes(body, { scope, prefix: `${origin}/`, opsets: opsetsOf(fn.opsetImport), depth: depth + 1, refs });
    this.b.origin = origin;
    return (fn.output ?? []).map((name) => this.lookup(name, scope));
  }

  /** A subgraph in place, its inputs bound; it sees the names around it. */
  private inline(g: GraphProto, bound: readonly ValueId[], origin: string, frame: Frame): ValueId[] {
    const { scope } = frame;
    this.declareTensors(g, scope);
    (g.input ?? []).forEach((v, i) => {
      scope.values.set(v.name ?? '', bound[i] ?? fail('E207', 'a subgraph lacks an input', { node: origin, found: v.name ?? '' }));
    });
    this.nodes(g.node ?? [], frame);
    this.b.origin = origin;
    return (g.output ?? []).map((v) => this.lookup(v.name ?? '', scope) ?? fail('E202', 'its subgraph has unsupported nodes', { node: origin }));
  }
}
