/** Random small networks, and an evaluation of quantised graphs that knows nothing of lowering. */
import { type Graph, type GraphBuilder, type ValueId, constantData, isConst, producers, typeOf, valueOf } from '@bitloom/ir';
import { type Bits, type QuantParams, codeRange, fakeQuantize } from '@bitloom/numerics';
import { compose, createBuilder, getOp } from '@bitloom/ops';
import { Rng, type Tensor, elementCount, tensor } from '@bitloom/tensor';
import { type Assignment, activationScheme, applyAssignment, applyCalibration, markCandidates, quantizable, weightScheme } from './index.js';

export const normal = (shape: readonly number[], rng: Rng, size = 1): Tensor =>
  tensor('f32', shape, Float32Array.from({ length: elementCount(shape) }, () => Math.fround(size * rng.normal())));

/** Small multiples of 1/8: sums of their products are exact in f32, in any order. */
export const eighths = (shape: readonly number[], rng: Rng): Tensor =>
  tensor('f32', shape, Float32Array.from({ length: elementCount(shape) }, () => (rng.int(33) - 16) / 8));

const product = (shape: readonly number[]): number => shape.reduce((p, n) => p * n, 1);
const STEPS = [
  'conv', 'conv', 'conv', 'depthwise', 'linear', 'unary', 'unary', 'affine', 'binary', 'residual', 'pool', 'pool', 'concat', 'pad', 'slice',
  'flatten', 'reshape',
  'transpose', 'reduce', 'resize', 'topk', 'gather', 'dynamic',
] as const;

/** Draws a network step by step; each step takes any value made before. */
export class Sampler {
  readonly b: GraphBuilder = createBuilder('random');
  readonly rng: Rng;
  private readonly live: ValueId[] = [];

  /** @param data of constants */
  constructor(seed: number, private readonly data: (shape: readonly number[], rng: Rng) => Tensor) {
    this.rng = new Rng(seed);
    this.live.push(this.b.input('x', { dtype: 'f32', shape: [2, 3, 6, 5] }), this.b.input('z', { dtype: 'f32', shape: [2, 4] }));
  }

  private pick = <T>(list: readonly T[]): T => list[this.rng.int(list.length)];
  private chance = (p: number): boolean => this.rng.uniform() < p;
  private const = (shape: readonly number[]): ValueId => this.b.const(this.data(shape, this.rng));

  private conv(x: ValueId, depthwise: boolean): ValueId {
    const { b, rng } = this;
    const [, c, ...size] = b.shapeOf(x);
    if (size.length < 1 || size.length > 2) return this.step('linear', x);
    const all = (v: number): number[] => size.map(() => v);
    const group = depthwise ? c : c % 2 === 0 && this.chance(0.3) ? 2 : 1;
    const outs = depthwise ? c * (1 + rng.int(2)) : group * (1 + rng.int(3));
    const kernel = size.map((d) => 1 + rng.int(Math.min(3, d)));
    const attrs = {
      strides: all(1 + rng.int(2)), dilations: all(1), pads: [...kernel, ...kernel].map((k) => rng.int(k)), group,
      activation: this.pick([null, { min: 0, max: Infinity }, { min: 0, max: 2 }, { min: -1, max: 1.5 }]),
    };
    return b.add('conv', [x, this.const([outs, c / group, ...kernel]), ...(this.chance(0.7) ? [this.const([outs])] : [])], attrs);
  }

  private step(kind: (typeof STEPS)[number], x: ValueId): ValueId {
    const { b, rng } = this;
    const shape = b.shapeOf(x);
    const rank = shape.length;
    const like = this.live.filter((v) => b.typeOf(v).dtype === 'f32' && b.shapeOf(v).join() === shape.join());
    switch (kind) {
      case 'conv':
      case 'depthwise':
        return this.conv(x, kind === 'depthwise');
      case 'linear': {
        const outs = 1 + rng.int(4);
        return b.add('linear', [x, this.const([outs, shape[rank - 1]]), ...(this.chance(0.7) ? [this.const([outs])] : [])],
          { activation: this.pick([null, { min: 0, max: Infinity }]) });
      }
      case 'unary':
        return b.add(this.pick(['relu', 'neg', 'abs', 'floor']), [x]);
      case 'affine':
        return b.add(this.pick(['add', 'mul', 'sub', 'max']),
          this.chance(0.5) ? [x, this.const([])] : [this.const(rank >= 2 ? [shape[1], ...shape.slice(2).map(() => 1)] : []), x]);
      case 'binary':
        return b.add(this.pick(['add', 'mul', 'min', 'sub']), [x, this.pick(like)]);
      case 'residual':
        return compose.add(b, b.add('relu', [x]), this.pick(like));
      case 'pool': {
        if (rank < 3) return x;
        const kernel = shape.slice(2).map((d) => 1 + rng.int(Math.min(2, d)));
        const attrs = {
          kernel, strides: kernel.map(() => 1 + rng.int(2)), pads: [...kernel, ...kernel].map((k) => rng.int(k)),
          dilations: kernel.map(() => 1), ceilExtra: kernel.map(() => 0),
        };
        return this.chance(0.6) ? b.add('max_pool', [x], attrs) : b.add('avg_pool', [x], { ...attrs, countIncludePad: this.chance(0.5) });
      }
      case 'concat':
        return rank === 0 ? x : b.add('concat', [x, this.pick(like), ...(this.chance(0.3) ? [this.const(shape)] : [])], { axis: rank > 1 ? 1 : 0 });
      case 'pad':
        return b.add('pad', [x], { pads: [...shape, ...shape].map((_, i) => (i % rank >= 2 ? rng.int(2) : 0)),
          mode: this.pick(['constant', 'edge']), value: this.pick([0, 0, 1.5]) });
      case 'slice': {
        const sizes = shape.map((d) => (this.chance(0.3) ? Math.ceil(d / 2) : d));
        return b.add('slice', [x], { starts: sizes.map((n, i) => shape[i] - n), steps: sizes.map(() => 1), sizes });
      }
      case 'flatten':
        return rank < 2 ? x : b.add('reshape', [x], { shape: [shape[0], product(shape.slice(1))] });
      case 'reshape':
        return b.add('reshape', [x], { shape: this.pick([[1, ...shape], [...shape, 1], shape.toReversed(), shape]) });
      case 'transpose':
        return b.add('transpose', [x], { perm: this.chance(0.5) && rank === 4 ? this.pick([[0, 2, 3, 1], [0, 3, 1, 2]]) : [...rng.permutation(rank)] });
      case 'reduce':
        return rank < 2 ? x : b.add(this.pick(['reduce_max', 'reduce_sum']), [x],
          { axes: this.pick([[rank - 1], [1], [0]]), keepdims: this.chance(0.5) });
      case 'resize':
        return rank !== 4 ? x : b.add('resize', [x], {
          sizes: [shape[0], shape[1], shape[2] * 2, shape[3] * 2], scales: [1, 1, 2, 2], mode: this.pick(['nearest', 'linear']),
          coordinates: 'asymmetric',
          nearest: 'floor', cubicA: -0.75, excludeOutside: false, antialias: false, roi: null, extrapolation: 0,
        });
      case 'topk': {
        if (rank < 1) return x;
        const [values, indices] = b.addMany('topk', [x], { axis: rank - 1, k: 1, largest: true, sorted: true });
        this.live.push(indices);
        return values;
      }
      case 'gather':
        return rank < 2 ? x : b.add('gather', [x, b.const(tensor('i64', [2], BigInt64Array.of(0n, -1n)))], { axis: 1 });
      case 'dynamic': {
        // A layer whose weights are no constant.
        const ones = this.live.filter((v) => b.typeOf(v).dtype === 'f32' && b.shapeOf(v).length <= 2 && elementCount(b.shapeOf(v)) === 1);
        return b.add('linear', [x, compose.broadcastTo(b, b.add('relu', [this.pick([...ones, this.const([])])]), [2, shape[rank - 1]])]);
      }
    }
  }

  /** @param steps how many to take */
  build(steps: number): Graph {
    for (let i = 0; i < steps; i++) {
      const floats = this.live.filter((v) => this.b.typeOf(v).dtype === 'f32' && elementCount(this.b.shapeOf(v)) <= 600);
      // Mostly the newest, so that networks get deep.
      const x = this.chance(0.6) ? floats[floats.length - 1] : this.pick(floats);
      this.live.push(this.step(this.pick(STEPS), x));
    }
    const constant = this.const([2, 1]);
    const outputs = [this.live[this.live.length - 1], ...this.live.filter(() => this.chance(0.15)), ...(this.chance(0.2) ? [constant] : [])];
    const g = this.b.build([...new Set(outputs)]);
    // Names tell buffers apart.
    return { ...g, values: new Map([...g.values].map(([id, v]) => [id, { ...v, name: id }])) };
  }
}

export const inputsOf = (g: Graph, make: (shape: readonly number[]) => Tensor): Map<ValueId, Tensor> =>
  new Map(g.inputs.map((id) => [id, make(typeOf(g, id).shape)]));

/**
 * Quantises everything that can be, at random bits, or leaves it float with probability `out`; a group of values that only move
 * shares its parameters. Where `exact`, scales are powers of two, and zero points even: integer kernels add them before they round
 * ties to even, {@link fakeQuantize} after.
 */
export function quantizeAtRandom(g: Graph, rng: Rng, out: number, exact: boolean): Graph {
  const sites = quantizable(g);
  const assignment: Map<ValueId, ReturnType<typeof weightScheme>> = new Map();
  const params = new Map<ValueId, QuantParams>();
  const scaleOf = (bits: Bits, range: number): number => {
    const s = (range * (0.5 + rng.uniform())) / 2 ** bits;
    return Math.fround(exact ? 2 ** Math.round(Math.log2(s)) : s);
  };
  for (const l of sites.layers) {
    if (rng.uniform() < out || assignment.has(l.weight)) continue;
    const scheme = weightScheme((1 + rng.int(8)) as Bits);
    assignment.set(l.weight, scheme);
    const outs = typeOf(g, l.weight).shape[0];
    params.set(l.weight, { scheme, scale: Float32Array.from({ length: outs }, () => scaleOf(scheme.bits, 4)), zeroPoint: new Int32Array(outs) });
  }
  for (const a of sites.groups) {
    const scheme = activationScheme((1 + rng.int(8)) as Bits);
    const p = { scheme, scale: Float32Array.of(scaleOf(scheme.bits, 8)),
      zeroPoint: Int32Array.of(exact ? 2 * rng.int(2 ** (scheme.bits - 1)) : rng.int(codeRange(scheme).hi + 1)) };
    for (const v of a.values) {
      if (rng.uniform() < out) continue;
      assignment.set(v, scheme);
      params.set(v, p);
    }
  }
  return applyCalibration(applyAssignment(markCandidates(g, [8], [8]), assignment satisfies Assignment), params);
}

/**
 * Node by node in float, with the calibrated values replaced by what their codes stand for.
 * @param see gets each result and says what the nodes after it read
 */
export function evaluateFakeQuantized(g: Graph, inputs: ReadonlyMap<ValueId, Tensor>, see: (id: ValueId, t: Tensor) => Tensor = (_, t) =>
  t): Map<ValueId, Tensor> {
  const values = new Map<ValueId, Tensor>();
  const put = (id: ValueId, t: Tensor): void => {
    const p = valueOf(g, id).precision;
    values.set(id, see(id, p.state === 'calibrated' ? tensor('f32', t.shape, fakeQuantize(t.data as Float32Array, t.shape, p.params)) : t));
  };
  const producer = producers(g);
  for (const [id, t] of inputs) put(id, t);
  for (const n of g.nodes) {
    if (isConst(n)) put(n.outputs[0], constantData(producer, n.outputs[0])!);
    else getOp(n.op).evaluate(n.inputs.map((i) => values.get(i)!), n.attrs, n.outputs.map((o) => typeOf(g, o))).forEach((t, i) => put(n.outputs[i], t));
  }
  return values;
}
