/** Rewriting by local rules, and removal of what nothing uses. */
import { fail } from '@bitloom/diagnostics';
import { type Tensor, sameShape } from '@bitloom/tensor';
import type { AddOptions, OpTable } from './builder.js';
import { FLOAT, type Graph, type Node, type TensorType, type Value, type ValueId, isConst } from './graph.js';
import { IdPool } from './ids.js';

/** What a rule sees of the graph, and how it builds the replacement. New nodes get the root's origin unless told otherwise. */
export interface RuleContext {
  typeOf(id: ValueId): TensorType;
  shapeOf(id: ValueId): readonly number[];
  valueOf(id: ValueId): Value;
  /** Data of a constant, else null. */
  constantOf(id: ValueId): Tensor | null;
  /** Node that makes a value; null for graph inputs. */
  producerOf(id: ValueId): Node | null;
  /** Nodes that read a value, in no particular order. */
  usersOf(id: ValueId): readonly Node[];
  isOutput(id: ValueId): boolean;
  /** Whether exactly one operand of one node reads the value, and it is no graph output. */
  usedOnce(id: ValueId): boolean;
  add(op: string, inputs: readonly ValueId[], attrs?: unknown, options?: Pick<AddOptions, 'origin'>): ValueId;
  const(data: Tensor, name: string): ValueId;
}

/** A local rewrite: nodes that compute the root's outputs in another way. */
export interface Rule {
  readonly name: string;
  /** What is replaced by what, in mathematical form. */
  readonly equation: string;
  /** Ops of the root; null: any but const. */
  readonly ops: readonly string[] | null;
  /**
   * A value for each output of `root` (one may stand alone), or null where the rule does not apply. The values must be older than
   * the root, or made by `ctx.add`. The last new node takes over the id, name and precision of the output it replaces.
   */
  apply(ctx: RuleContext, root: Node): ValueId | readonly ValueId[] | null;
}

export interface RewriteResult {
  readonly graph: Graph;
  /** How often each rule applied; rules that never did are absent. */
  readonly applied: ReadonlyMap<string, number>;
}

/** A node in the list of nodes. */
interface Cell {
  node: Node;
  previous: Cell | null;
  next: Cell | null;
}

/**
 * A graph under change: nodes in a doubly linked list that stays topologically sorted, because replacements stand where the node
 * they replace stood, and use only what was defined before.
 */
export class GraphEditor {
  private readonly values = new Map<ValueId, Value>();
  private readonly producer = new Map<ValueId, Cell>();
  private readonly users = new Map<ValueId, Set<Cell>>();
  private readonly inputs: ReadonlySet<ValueId>;
  private readonly outputs: ReadonlySet<ValueId>;
  private readonly ids = new IdPool();
  private first: Cell | null = null;
  private last: Cell | null = null;

  constructor(private readonly graph: Graph, private readonly ops: OpTable) {
    this.inputs = new Set(graph.inputs);
    this.outputs = new Set(graph.outputs);
    for (const [id, v] of graph.values) {
      this.values.set(id, v);
      this.ids.reserve(id);
    }
    for (const n of graph.nodes) this.insert(n, null);
  }

  build(): Graph {
    const nodes: Node[] = [];
    for (let c = this.first; c; c = c.next) nodes.push(c.node);
    const ids = [...this.graph.inputs, ...nodes.flatMap((n) => n.outputs)];
    return { ...this.graph, nodes, values: new Map(ids.map((id) => [id, this.values.get(id)!])) };
  }

  /**
   * Visits every node in order. `find` gets a context for building replacements and returns values for the node's outputs, or null
   * to leave it; `replaced` is called when they took its place. Replacements are visited next.
   */
  visit(find: (ctx: RuleContext, node: Node) => ValueId | readonly ValueId[] | null, replaced: (node: Node) => void): void {
    for (let cell = this.first; cell; ) {
      const { node } = cell;
      const made = new Map<ValueId, Value>();
      const pending: Node[] = [];
      const found = find(this.context(node, pending, made), node);
      const change = found === null ? null : this.replace(cell, typeof found === 'string' ? [found] : found, pending, made);
      if (change) replaced(node);
      cell = change ? change.next : cell.next;
    }
  }

  private context(root: Node, pending: Node[], made: Map<ValueId, Value>): RuleContext {
    const value = (id: ValueId): Value =>
      made.get(id) ?? this.values.get(id) ?? fail('E901', `a rule asks for %${id}, which is not there`, { node: root.origin });
    const producer = (id: ValueId): Node | null => (made.has(id) ? pending.find((n) => n.outputs.includes(id))! : (this.producer.get(id)?.node ?? null));
    const add = (op: string, inputs: readonly ValueId[], attrs: unknown, name: string, origin: string): ValueId => {
      const types = this.ops.infer(op, inputs.map((i) => value(i).type), attrs, origin);
      // Ids for the time being: which of them stay is known when the rule has returned. No value has such an id.
      const outputs = types.map((type) => {
        const id = `+${made.size}`;
        made.set(id, { id, name, type, precision: FLOAT });
        return id;
      });
      pending.push({ op, inputs: [...inputs], outputs, attrs, origin });
      return outputs[0];
    };
    return {
      valueOf: value,
      typeOf: (id) => value(id).type,
      shapeOf: (id) => value(id).type.shape,
      constantOf: (id) => {
        const n = producer(id);
        return n && isConst(n) ? n.attrs.data : null;
      },
      producerOf: producer,
      usersOf: (id) => [...(this.users.get(id) ?? [])].map((c) => c.node),
      isOutput: (id) => this.outputs.has(id),
      usedOnce: (id) => {
        const users = this.users.get(id);
        if (users?.size !== 1 || this.outputs.has(id)) return false;
        const [{ node }] = users;
        return node.inputs.indexOf(id) === node.inputs.lastIndexOf(id);
      },
      add: (op, inputs, attrs = {}, { origin = root.origin } = {}) => add(op, inputs, attrs, op, origin),
      const: (data, name) => add('const', [], { data }, name, root.origin),
    };
  }

  /** Appends before `at`, or at the end for null. */
  private insert(node: Node, at: Cell | null): Cell {
    const cell: Cell = { node, previous: at ? at.previous : this.last, next: at };
    if (cell.previous) cell.previous.next = cell;
    else this.first = cell;
    if (at) at.previous = cell;
    else this.last = cell;
    for (const o of node.outputs) this.producer.set(o, cell);
    for (const i of node.inputs) this.usersOf(i).add(cell);
    return cell;
  }

  private usersOf(id: ValueId): Set<Cell> {
    let users = this.users.get(id);
    if (!users) this.users.set(id, (users = new Set()));
    return users;
  }

  /** Takes a node out of the list and off the users of its operands; its outputs are the caller's business. */
  private unlink(cell: Cell): void {
    if (cell.previous) cell.previous.next = cell.next;
    else this.first = cell.next;
    if (cell.next) cell.next.previous = cell.previous;
    else this.last = cell.previous;
    for (const i of cell.node.inputs) this.users.get(i)?.delete(cell);
  }

  /** Lets every reader of `from` read `to`. */
  private redirect(from: ValueId, to: ValueId): void {
    for (const cell of this.usersOf(from)) {
      cell.node = { ...cell.node, inputs: cell.node.inputs.map((i) => (i === from ? to : i)) };
      this.usersOf(to).add(cell);
    }
    this.users.delete(from);
  }

  /** Removes nodes none of whose outputs is used, starting from `cells` and going on to their operands. */
  private sweep(cells: Cell[]): void {
    for (let cell = cells.pop(); cell; cell = cells.pop()) {
      const { inputs, outputs } = cell.node;
      const live = outputs.some((o) => this.outputs.has(o) || (this.users.get(o)?.size ?? 0) > 0);
      if (live || this.producer.get(outputs[0]) !== cell) continue;
      this.unlink(cell);
      for (const o of outputs) {
        this.values.delete(o);
        this.producer.delete(o);
        this.users.delete(o);
      }
      for (const i of inputs) {
        const p = this.producer.get(i);
        if (p) cells.push(p);
      }
    }
  }

  /**
   * Puts `pending` in the place of a node, whose outputs become `results`. Graph outputs keep id and name: a new node takes them over,
   * an older one is renamed if it may be, else an identity copies it.
   * @returns the cell to visit next; null if nothing changed, because the node is already such a copy or precisions forbid it
   */
  private replace(root: Cell, results: readonly ValueId[], pending: readonly Node[], made: ReadonlyMap<ValueId, Value>): { readonly next: Cell | null } | null {
    const { inputs, outputs, origin, op } = root.node;
    const final = new Map<ValueId, ValueId>();
    const name = (id: ValueId): ValueId => final.get(id) ?? id;
    const existing: (readonly [ValueId, ValueId])[] = [];
    const pinned = (r: ValueId): boolean => made.has(r) || this.inputs.has(r) || this.outputs.has(r);
    for (const [i, o] of outputs.entries()) {
      const r = results[i];
      const own = this.values.get(o)!;
      const other = made.get(r) ?? this.values.get(r) ?? fail('E901', `a rule replaces %${o} by %${r}, which is not there`, { node: origin });
      if (own.type.dtype !== other.type.dtype || !sameShape(own.type.shape, other.type.shape)) {
        fail('E901', `a rule changes the type of %${o}`, { node: origin });
      }
      if (made.has(r) && !final.has(r)) final.set(r, o);
      else {
        const [p, q] = [own.precision, other.precision];
        const samePrecision = p === q || (p.state === 'float' && q.state === 'float');
        if (r === o || !samePrecision || (op === 'identity' && this.outputs.has(o) && pinned(r))) return null;
        existing.push([o, r]);
      }
    }

    for (const [id, v] of made) {
      if (final.has(id)) continue;
      const fresh = this.ids.fresh(v.name);
      final.set(id, fresh);
      this.values.set(fresh, { ...v, id: fresh, name: fresh });
    }
    const place = root.next;
    this.unlink(root);
    const cells = pending.map((n) => this.insert({ ...n, inputs: n.inputs.map(name), outputs: n.outputs.map(name) }, place));
    for (const [o, old] of existing) {
      const r = name(old);
      if (!this.outputs.has(o)) {
        this.redirect(o, r);
        this.values.delete(o);
        this.producer.delete(o);
      } else if (pinned(old) || pinned(r)) cells.push(this.insert({ op: 'identity', inputs: [r], outputs: [o], attrs: {}, origin }, place));
      else {
        const maker = this.producer.get(r)!;
        maker.node = { ...maker.node, outputs: maker.node.outputs.map((x) => (x === r ? o : x)) };
        this.producer.delete(r);
        this.values.delete(r);
        this.producer.set(o, maker);
        this.redirect(r, o);
        final.set(r, o);
      }
    }
    this.sweep([...cells, ...inputs.flatMap((i) => this.producer.get(i) ?? [])]);
    return { next: cells.find((c) => this.producer.get(c.node.outputs[0]) === c) ?? place };
  }
}

/**
 * Applies rules everywhere, in graph order and for each node in the order given, until none applies. Ids, names and order of inputs
 * and outputs stay; nodes that become unused are removed.
 * @throws E901 when the rules never end
 */
export function rewrite(g: Graph, rules: readonly Rule[], ops: OpTable): RewriteResult {
  const byOp = new Map<string, Rule[]>();
  const rulesFor = (op: string): Rule[] => {
    let found = byOp.get(op);
    if (!found) byOp.set(op, (found = rules.filter((r) => (r.ops ? r.ops.includes(op) : op !== 'const'))));
    return found;
  };
  const applied = new Map<string, number>();
  const editor = new GraphEditor(g, ops);
  const limit = 1000 + 50 * g.nodes.length;
  let current = '';
  let count = 0;
  for (let before = -1; before !== count; ) {
    before = count;
    editor.visit(
      (ctx, node) => {
        for (const rule of rulesFor(node.op)) {
          const result = rule.apply(ctx, node);
          if (result === null) continue;
          current = rule.name;
          return result;
        }
        return null;
      },
      (node) => {
        applied.set(current, (applied.get(current) ?? 0) + 1);
        if (++count > limit) fail('E901', 'rewriting does not end', { node: node.origin, found: `${count} replacements, the last by ${current}` });
      },
    );
  }
  return { graph: editor.build(), applied };
}

/** The graph without nodes whose results nothing uses. Inputs stay, used or not. */
export function deadCode(g: Graph): Graph {
  const used = new Set<ValueId>(g.outputs);
  const nodes: Node[] = [];
  for (const n of g.nodes.toReversed()) {
    if (!n.outputs.some((o) => used.has(o))) continue;
    for (const i of n.inputs) used.add(i);
    nodes.push(n);
  }
  nodes.reverse();
  const kept = new Set([...g.inputs, ...nodes.flatMap((n) => n.outputs)]);
  return { ...g, nodes, values: new Map([...g.values].filter(([id]) => kept.has(id))) };
}
