/** One training step as one graph: forward, backward, and the update of every parameter. */
import { fail } from '@bitloom/diagnostics';
import { type Session, type SessionOptions, compileGraph } from '@bitloom/engine';
import { type Graph, GraphBuilder, type ValueId, typeOf } from '@bitloom/ir';
import { compose, opTable } from '@bitloom/ops';
import { type Tensor, allocate, scalar, toNumbers } from '@bitloom/tensor';
import { addGradients, simplify } from '@bitloom/transforms';
import type { Optimizer } from './optimizer.js';

/** A tensor that training changes: an input of the network's graph. */
export interface Parameter {
  readonly id: ValueId;
  /** In checkpoints; unique. */
  readonly name: string;
  readonly initial: Tensor;
  /** Factor of the learning rate, and weight decay. */
  readonly rateScale: number;
  readonly decay: number;
  /** Bound below which no element falls, in the same shape; none where left out. */
  readonly least?: Tensor;
}

/** A loss and what it depends on. */
export interface Network {
  /** Inputs are the parameters and what every step is fed. */
  readonly graph: Graph;
  /** A scalar. */
  readonly loss: ValueId;
  readonly parameters: readonly Parameter[];
  /** Further values to see after every step. */
  readonly watched: readonly ValueId[];
}

/** Parameters and the optimiser's state, by name. */
export type TrainingState = ReadonlyMap<string, Tensor>;

export interface StepResult {
  readonly loss: number;
  readonly watched: ReadonlyMap<ValueId, Tensor>;
}

export interface TrainerOptions extends SessionOptions {
  /** The gradient of all parameters together is shortened to this length where it is longer (Pascanu et al., arXiv 1211.5063, algorithm 1); 0 leaves it. */
  readonly clip?: number;
}

interface Slot {
  readonly name: string;
  /** Input of the graph, and the output that takes its place. */
  readonly from: ValueId;
  to: ValueId;
}

function clipped(b: GraphBuilder, gradients: ReadonlyMap<ValueId, ValueId | null>, most: number): ReadonlyMap<ValueId, ValueId | null> {
  const known = [...gradients.values()].filter((d) => d !== null);
  if (most === 0 || known.length === 0) return gradients;
  const squares = known.map((d) => compose.reduceSum(b, compose.square(b, d), b.shapeOf(d).map((_, i) => i), false));
  const length = b.add('sqrt', [squares.reduce((s, x) => compose.add(b, s, x))]);
  const limit = compose.scalarLike(b, length, most);
  const factor = compose.div(b, limit, b.add('max', [length, limit]));
  return new Map([...gradients].map(([id, d]) => [id, d && compose.mul(b, d, factor)]));
}

/** A network that learns, step by step, in one onnxruntime session. The same state and feeds give the same bits. */
export class Trainer {
  /** Steps done. */
  step = 0;

  private constructor(
    private readonly network: Network, private readonly optimizer: Optimizer, private readonly session: Session, private readonly slots: readonly Slot[],
    private readonly scalars: readonly ValueId[], private state: Map<string, Tensor>,
  ) {}

  /**
   * @throws E403 when no gradient reaches a parameter for want of a rule, E601 when onnxruntime rejects the graph
   */
  static async create(network: Network, optimizer: Optimizer, options: TrainerOptions = {}): Promise<Trainer> {
    const { graph, loss, parameters } = network;
    const b = GraphBuilder.from(graph, opTable);
    const seed = compose.broadcastTo(b, compose.scalarLike(b, loss, 1), b.shapeOf(loss));
    const gradients = clipped(b, addGradients(b, graph, new Map([[loss, seed]]), parameters.map((p) => p.id)), options.clip ?? 0);
    const scalars = optimizer.scalars(1, 1).map((_, i) => b.input(`${optimizer.name}.${i}`, { dtype: 'f32', shape: [] }));
    const slots: Slot[] = [];
    const state = new Map<string, Tensor>();
    for (const p of parameters) {
      const type = typeOf(graph, p.id);
      const names = [p.name, ...Array.from({ length: optimizer.slots }, (_, i) => `${p.name}.${optimizer.name}${i}`)];
      const inputs = [p.id, ...names.slice(1).map((name) => b.input(name, type))];
      const gradient = gradients.get(p.id) ?? compose.zerosLike(b, p.id);
      const updated = optimizer.update(b, p.id, gradient, inputs.slice(1), scalars, p.rateScale, p.decay);
      const bounded = p.least ? b.add('max', [updated.parameter, b.const(p.least)]) : updated.parameter;
      [bounded, ...updated.slots].forEach((to, i) => slots.push({ name: names[i], from: inputs[i], to }));
      names.forEach((name, i) => state.set(name, i === 0 ? p.initial : allocate(type.dtype, type.shape)));
    }
    const outputs = [loss, ...network.watched, ...slots.map((s) => s.to)];
    const session = await compileGraph(simplify(b.build(outputs)), outputs, options);
    return new Trainer(network, optimizer, session, slots, scalars, state);
  }

  /** One step at a learning rate. @param feeds inputs that are no parameters @throws E404 when the loss is not finite */
  async run(feeds: ReadonlyMap<ValueId, Tensor>, rate: number): Promise<StepResult> {
    const all = new Map(feeds);
    const numbers = this.optimizer.scalars(this.step + 1, rate);
    this.scalars.forEach((id, i) => all.set(id, scalar('f32', numbers[i])));
    for (const s of this.slots) all.set(s.from, this.state.get(s.name)!);
    const results = await this.session.run(all);
    const [loss] = toNumbers(results.get(this.network.loss)!);
    if (!Number.isFinite(loss)) {
      fail('E404', 'the loss is not finite', { found: `${loss} at step ${this.step}`, remedy: 'lower the learning rate, or warm up longer' });
    }
    this.state = new Map(this.slots.map((s) => [s.name, results.get(s.to)!]));
    this.step++;
    return { loss, watched: new Map(this.network.watched.map((id) => [id, results.get(id)!])) };
  }

  /** Current value of a parameter. */
  parameter(p: Parameter): Tensor {
    return this.state.get(p.name)!;
  }

  get training(): TrainingState {
    return this.state;
  }

  /** Goes on from a state saved after so many steps. @throws E706 for that of another network */
  restore(step: number, saved: TrainingState): void {
    for (const { name } of this.slots) {
      const [t, wanted] = [saved.get(name), this.state.get(name)!];
      if (!t || t.dtype !== wanted.dtype || t.shape.join() !== wanted.shape.join()) {
        fail('E706', 'the checkpoint is of another network', { node: name, found: t ? `[${t.shape.join(', ')}]` : 'nothing', expected: `[${wanted.shape.join(', ')}]` });
      }
    }
    this.state = new Map(this.slots.map((s) => [s.name, saved.get(s.name)!]));
    this.step = step;
  }

  close = (): Promise<void> => this.session.close();
}
