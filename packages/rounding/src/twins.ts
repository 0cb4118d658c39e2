/**
 * The float network and the quantised one side by side over a data set, a stretch of nodes at a time, so that each layer sees the inputs
 * which the layers before it make. The float network clips as the quantised one does: what ranges leave out was judged to matter little, and no weights
 * shall make up for it. What the two hold at a cut is kept for all samples where it fits, or else computed again.
 */
import { batchOf, graphBatches, quantizedValue } from '@bitloom/calibrate';
import type { DataSource } from '@bitloom/data';
import { compileGraph } from '@bitloom/engine';
import { type Graph, type GraphBuilder, type Node, type ValueId, constantData, isConst, producers, typeOf, valueOf } from '@bitloom/ir';
import { type QuantParams, codeRange } from '@bitloom/numerics';
import { createBuilder } from '@bitloom/ops';
import { type Tensor, elementCount, tensor } from '@bitloom/tensor';
import type { LayerConstants } from '@bitloom/transforms';

/** x within the range of Q(x). */
function clipped(b: GraphBuilder, x: ValueId, q: QuantParams): ValueId {
  const { lo, hi } = codeRange(q.scheme);
  const [s, z] = [q.scale[0], q.zeroPoint[0]];
  return b.add('clip', [x], { min: Math.fround((lo - z) * s), max: Math.fround((hi - z) * s) });
}

/** What a stretch of the networks gives to look at: values of the float network and of the quantised one. */
export type Probe = (b: GraphBuilder, float: (id: ValueId) => ValueId, quantised: (id: ValueId) => ValueId) => readonly ValueId[];

/** Values of a batch by network and id. */
type Kept = ReadonlyMap<string, Tensor>;

const NETWORKS = ['float', 'quantised'] as const;
type Network = (typeof NETWORKS)[number];
const keyOf = (network: Network, id: ValueId): string => `${network}.${id}`;

export class Twins {
  /** Nodes before this have been run, and `kept` holds what later ones need of each batch; null: begin with the data. */
  private at = 0;
  private kept: Kept[] | null = null;
  private readonly producer: ReadonlyMap<ValueId, Node>;
  private readonly lastUse = new Map<ValueId, number>();
  readonly batches: number;

  /**
   * @param g float graph at the batch size to run
   * @param params of activations
   * @param constants of the quantised network's layers, by node; read as stretches begin
   * @param room bytes kept between stretches
   */
  constructor(
    private readonly g: Graph, private readonly params: ReadonlyMap<ValueId, QuantParams>, private readonly constants: ReadonlyMap<Node, LayerConstants>,
    private readonly source: DataSource, private readonly room: number,
  ) {
    this.producer = producers(g);
    g.nodes.forEach((n, i) => n.inputs.forEach((v) => this.lastUse.set(v, i)));
    this.batches = Math.ceil(source.size / batchOf(g));
  }

  /** Values that nodes from `index` on read. */
  private live(index: number): ValueId[] {
    const made = [...this.g.inputs, ...this.g.nodes.slice(0, index).flatMap((n) => (isConst(n) ? [] : n.outputs))];
    return made.filter((v) => (this.lastUse.get(v) ?? -1) >= index);
  }

  /**
   * Runs both networks up to a node, and what `probe` adds there. The last batch is filled up with samples from the beginning.
   * @param feeds further inputs that the probe made, for each batch
   * @param visit results of the probe, batch by batch
   */
  async run(node: Node, probe: Probe, feeds: () => ReadonlyMap<ValueId, Tensor>, visit: (results: readonly Tensor[]) => void): Promise<void> {
    const to = this.g.nodes.indexOf(node);
    const b = createBuilder(`${this.g.name}.twins`);
    const inputs = new Map<string, ValueId>();
    const input = (key: string, id: ValueId): ValueId => {
      const known = inputs.get(key) ?? b.input(key, typeOf(this.g, id));
      inputs.set(key, known);
      return known;
    };
    const values = new Map(NETWORKS.map((network) => [network, this.stretch(b, network, to, input)]));
    const probes = probe(b, values.get('float')!, values.get('quantised')!);
    const next = this.live(to);
    const passed = NETWORKS.flatMap((network) => next.map((id) => [keyOf(network, id), values.get(network)!(id)] as const));
    const bytes = passed.reduce((n, [, v]) => n + elementCount(b.shapeOf(v)) * 4, 0) * this.batches;
    const keep = bytes <= this.room;
    const session = await compileGraph(b.build([...new Set([...probes, ...(keep ? passed.map(([, v]) => v) : [])])]));
    const kept: Kept[] = [];
    try {
      for await (const given of this.given(keep)) {
        const results = await session.run(new Map([...[...inputs].map(([key, v]) => [v, given.get(key)!] as const), ...feeds()]));
        if (keep) kept.push(new Map(passed.map(([key, v]) => [key, results.get(v)!])));
        visit(probes.map((v) => results.get(v)!));
      }
    } finally {
      await session.close();
    }
    if (keep) [this.at, this.kept] = [to, kept];
  }

  /** @param last what is kept can be let go of */
  private async *given(last: boolean): AsyncGenerator<Kept> {
    if (this.kept && last) for (let k = this.kept.shift(); k; k = this.kept.shift()) yield k;
    else if (this.kept) yield* this.kept;
    else for await (const batch of graphBatches(this.g, this.source)) yield new Map([...batch.inputs].map(([id, t]) => [keyOf('float', id), t]));
  }

  /** Emits the nodes from the kept cut to node `to` of one network. @returns what stands for each value */
  private stretch(b: GraphBuilder, network: Network, to: number, input: (key: string, id: ValueId) => ValueId): (id: ValueId) => ValueId {
    const values = new Map<ValueId, ValueId>();
    const define = (id: ValueId, v: ValueId): void => {
      const q = this.params.get(id);
      values.set(id, !q ? v : network === 'quantised' ? quantizedValue(b, v, q) : clipped(b, v, q));
    };
    if (this.kept) for (const id of this.live(this.at)) values.set(id, input(keyOf(network, id), id));
    // Both networks read the same data.
    else for (const id of this.g.inputs) define(id, input(keyOf('float', id), id));
    const operand = (id: ValueId): ValueId => {
      const known = values.get(id);
      if (known !== undefined) return known;
      values.set(id, b.const(constantData(this.producer, id)!, valueOf(this.g, id).name));
      return values.get(id)!;
    };
    for (const n of this.g.nodes.slice(this.at, to)) {
      if (isConst(n)) continue;
      const own = network === 'quantised' ? this.constants.get(n) : undefined;
      const ins = n.inputs.map((id, i) => (own?.weight && i === 1 ? b.const(own.weight) : own?.bias && i === 2 ? '' : operand(id)));
      if (own?.bias) ins[2] = b.const(tensor('f32', [own.bias.length], own.bias));
      b.addMany(n.op, ins, n.attrs).forEach((v, i) => define(n.outputs[i], v));
    }
    return operand;
  }
}
