/** Second moments of a layer's inputs and of the error that quantised inputs make, from one pass over the data. */
import type { GraphBuilder, Node, ValueId } from '@bitloom/ir';
import { type ConvAttrs, compose } from '@bitloom/ops';
import { type Rng, type Tensor, elementCount, tensor } from '@bitloom/tensor';
import type { Quadratic } from './quadratic.js';

/** A layer as rows of dot products: output positions of a sample, and where the input of each tap lies. */
interface Unfolding {
  readonly groups: number;
  readonly taps: number;
  /** Output positions of one sample (of all, for a fully connected layer). */
  readonly positions: number;
  /** Leading samples of the tensors that are unfolded. */
  readonly samples: number;
  /** Index of tap t at position p into the positions of the padded input. */
  at(p: number, t: number): number;
  /** Input (samples, channels, positions of the padded input). */
  input(b: GraphBuilder, x: ValueId): ValueId;
  /** Output (samples, channels, positions). */
  output(b: GraphBuilder, y: ValueId): ValueId;
}

const product = (v: readonly number[]): number => v.reduce((p, d) => p * d, 1);

function unfolding(n: Node, x: readonly number[], w: readonly number[], y: readonly number[]): Unfolding {
  if (n.op === 'linear') {
    const rows = product(x.slice(0, -1));
    const flat = (b: GraphBuilder, v: ValueId, channels: number): ValueId => compose.transpose(b, compose.reshapeTo(b, v, [1, rows, channels]), [0, 2, 1]);
    return { groups: 1, taps: 1, positions: rows, samples: 1, at: (p) => p, input: (b, v) => flat(b, v, w[1]), output: (b, v) => flat(b, v, w[0]) };
  }
  const { strides, dilations, pads, group } = n.attrs as ConvAttrs;
  const kernel = w.slice(2);
  const axes = kernel.length;
  const padded = x.slice(2).map((d, i) => d + pads[i] + pads[axes + i]);
  const out = y.slice(2);
  return {
    groups: group, taps: product(kernel), positions: product(out), samples: x[0],
    at(p, t) {
      let index = 0;
      for (let i = axes - 1, scale = 1; i >= 0; i--) {
        index += scale * ((p % out[i]) * strides[i] + (t % kernel[i]) * dilations[i]);
        p = Math.floor(p / out[i]);
        t = Math.floor(t / kernel[i]);
        scale *= padded[i];
      }
      return index;
    },
    input: (b, v) => compose.reshapeTo(b, compose.padWith(b, v, [0, 0, ...pads.slice(0, axes)], [0, 0, ...pads.slice(axes)]), [x[0], x[1], product(padded)]),
    output: (b, v) => compose.reshapeTo(b, v, [x[0], w[0], product(out)]),
  };
}

/** Sums over the positions seen so far. */
export class Moments {
  private readonly gram: Float32Array | null;
  private readonly cross: Float32Array;
  private readonly input: Float64Array;
  private readonly residual: Float64Array;
  private readonly squares: Float64Array;
  private seen = 0;
  private readonly unfolding: Unfolding;
  private readonly shape: readonly number[];
  private readonly perBatch: number;
  private feeds: readonly ValueId[] = [];

  /**
   * @param weight of shape (rows, columns…)
   * @param shapes of the layer's input and output
   * @param positions about how many to look at in all; drawn for each batch
   * @param whole also the Gram matrix, not only means
   */
  constructor(
    private readonly node: Node, private readonly weight: Tensor, shapes: { readonly x: readonly number[]; readonly y: readonly number[] },
    batches: number, positions: number, private readonly whole: boolean, private readonly rng: Rng,
  ) {
    const u = unfolding(node, shapes.x, weight.shape, shapes.y);
    const [rows] = weight.shape;
    const columns = elementCount(weight.shape) / rows;
    this.unfolding = u;
    this.shape = [u.groups, rows, columns];
    this.perBatch = Math.min(u.positions, Math.ceil(positions / (u.samples * batches)));
    this.gram = whole ? new Float32Array(u.groups * columns * columns) : null;
    this.cross = new Float32Array(rows * columns);
    this.input = new Float64Array(u.groups * columns);
    this.residual = new Float64Array(rows);
    this.squares = new Float64Array(rows);
  }

  /** Emits what is summed. @param x input of the layer in the float network @param xq and in the quantised one */
  probe(b: GraphBuilder, x: ValueId, xq: ValueId): ValueId[] {
    const u = this.unfolding;
    const [groups, rows, columns] = this.shape;
    const n = this.perBatch;
    const taps = b.input('taps', { dtype: 'i64', shape: [u.taps * n] });
    const places = b.input('places', { dtype: 'i64', shape: [n] });
    this.feeds = [taps, places];
    const total = u.samples * n;
    const split = (v: ValueId, channels: number): ValueId =>
      compose.reshapeTo(b, compose.transpose(b, compose.reshapeTo(b, v, [u.samples, groups, channels, n]), [1, 2, 0, 3]), [groups, channels, total]);
    const patches = split(b.add('gather', [u.input(b, xq), taps], { axis: 2 }), columns);
    const layer = b.add(this.node.op, [compose.sub(b, x, xq), b.const(this.weight)], { ...(this.node.attrs as object), activation: null });
    const residual = split(b.add('gather', [u.output(b, layer), places], { axis: 2 }), rows / groups);
    const transposed = compose.transpose(b, patches, [0, 2, 1]);
    return [
      b.add('matmul', [residual, transposed]),
      compose.reduceSum(b, patches, [2], false),
      compose.reduceSum(b, residual, [2], false),
      compose.reduceSum(b, compose.square(b, residual), [2], false),
      ...(this.whole ? [b.add('matmul', [patches, transposed])] : []),
    ];
  }

  /** Positions of the next batch. */
  next(): Map<ValueId, Tensor> {
    const u = this.unfolding;
    const n = this.perBatch;
    const drawn = n === u.positions ? Int32Array.from({ length: n }, (_, i) => i) : this.rng.permutation(u.positions).subarray(0, n).sort();
    const taps = new BigInt64Array(u.taps * n);
    for (let t = 0; t < u.taps; t++) for (let i = 0; i < n; i++) taps[t * n + i] = BigInt(u.at(drawn[i], t));
    return new Map([[this.feeds[0], tensor('i64', [taps.length], taps)], [this.feeds[1], tensor('i64', [n], BigInt64Array.from(drawn, BigInt))]]);
  }

  add([cross, input, residual, squares, gram]: readonly Tensor[]): void {
    const sum = (into: Float32Array | Float64Array, t: Tensor): void => {
      const data = t.data as Float32Array;
      for (let i = 0; i < data.length; i++) into[i] += data[i];
    };
    sum(this.cross, cross);
    sum(this.input, input);
    sum(this.residual, residual);
    sum(this.squares, squares);
    if (this.gram) sum(this.gram, gram);
    this.seen += this.unfolding.samples * this.perBatch;
  }

  /** Infinities and NaN, which no rounding can be learnt from. */
  get finite(): boolean {
    return [this.gram ?? [], this.cross, this.input, this.residual, this.squares].every((v) => Number.isFinite((v as Float32Array).reduce((s, x) => s + x, 0)));
  }

  /** Means of the inputs [groups, columns] and of w·(x − x̂) [rows]. */
  get means(): { readonly input: Float64Array; readonly residual: Float64Array } {
    return { input: this.input.map((v) => v / this.seen), residual: this.residual.map((v) => v / this.seen) };
  }

  /** The problem of rounding. @param centred without the mean error of each output channel, which a bias takes away */
  quadratic(centred: boolean): Quadratic {
    const [groups, rows, columns] = this.shape;
    const { input, residual } = this.means;
    const n = this.seen;
    const gram = this.gram!;
    const out = new Float32Array(gram.length);
    for (let g = 0, at = 0; g < groups; g++) {
      for (let i = 0; i < columns; i++) {
        const m = centred ? input[g * columns + i] : 0;
        for (let j = 0; j < columns; j++, at++) out[at] = gram[at] / n - m * input[g * columns + j];
      }
    }
    const cross = this.cross.map((v, k) => {
      const row = Math.floor(k / columns);
      const mean = centred ? residual[row] * input[Math.floor((row * groups) / rows) * columns + (k % columns)] : 0;
      return v / n - mean;
    });
    return {
      groups, rows, columns, weights: this.weight.data as Float32Array, gram: out, cross,
      residual: this.squares.map((v, row) => v / n - (centred ? residual[row] ** 2 : 0)),
    };
  }
}
