/** A float graph whose layers learn: weights become parameters, and batch normalisation, which the import folds away, comes back. */
import { type Graph, type GraphBuilder, type Node, type ValueId, constantData, isConst, producers, typeOf, valueOf } from '@bitloom/ir';
import { type ConvAttrs, compose, createBuilder } from '@bitloom/ops';
import { type Tensor, tensor } from '@bitloom/tensor';
import { type Layer, type LayerConstants, layersOf } from '@bitloom/transforms';
import type { Parameter } from './step.js';

/** Mean and variance of each output channel of a layer. */
export interface ChannelStatistics {
  readonly mean: Float32Array;
  readonly variance: Float32Array;
}

/** What puts quantisers into the graph. Both give the value that takes the place of theirs. */
export interface Insertions {
  /** The weights that the layer multiplies with. @param size factor of each channel's weights, see {@link trainable} */
  weight?(b: GraphBuilder, layer: Layer, weight: ValueId, size: Float32Array): ValueId;
  /** What the consumers of a value of the original graph read. */
  value?(b: GraphBuilder, id: ValueId, value: ValueId): ValueId;
}

export interface TrainableOptions extends Insertions {
  /** By layer name, of the float network's outputs before the fused activation: these convolutions are normalised by batch statistics. */
  readonly statistics?: ReadonlyMap<string, ChannelStatistics>;
  /** Where weights begin, by value; the others at those of the graph. */
  readonly weights?: ReadonlyMap<ValueId, Tensor>;
  /** Weight decay of weights; biases, γ and β have none. */
  readonly decay?: number;
}

export interface TrainableLayer {
  readonly layer: Layer;
  readonly weight: Parameter;
  /** Without normalisation, where the layer has a bias. */
  readonly bias: Parameter | null;
  /**
   * y = |γ|·(z − mean)/√(variance + ε) + β, statistics of the batch, which are values of shape [channels, 1, 1]. The factor is never negative: it
   * goes into the quantisation steps of the weights, and codes are not symmetric.
   */
  readonly norm: { readonly gamma: Parameter; readonly beta: Parameter; readonly mean: ValueId; readonly variance: ValueId } | null;
}

export interface Trainable {
  /** Holds the forward graph; a loss is added to it. */
  readonly b: GraphBuilder;
  /** Input of the new graph for each of the old one, and what consumers of each old value read. */
  readonly inputs: ReadonlyMap<ValueId, ValueId>;
  readonly values: ReadonlyMap<ValueId, ValueId>;
  readonly layers: readonly TrainableLayer[];
  /** Those of the layers. */
  readonly parameters: readonly Parameter[];
}

const EPSILON = 1e-5;
/** A channel that training switched off still needs a step. */
const LEAST_GAMMA = 1e-8;

/** Elements of a convolution's output but its channels. */
const POSITIONS = [0, 2, 3] as const;

const clamped = (b: GraphBuilder, y: ValueId, activation: ConvAttrs['activation']): ValueId =>
  (!activation ? y : activation.min === 0 && activation.max === Infinity ? b.add('relu', [y]) : b.add('clip', [y], activation));

/** Factors that bring each channel's weights to a root mean square of 1/√(inputs of a channel); 1 for channels of zeros. */
function evened({ data, shape }: Tensor): Float32Array {
  const inputs = data.length / shape[0];
  return Float32Array.from({ length: shape[0] }, (_, c) => {
    const squares = (data as Float32Array).subarray(c * inputs, (c + 1) * inputs).reduce((s, v) => s + v * v, 0);
    const factor = Math.fround(1 / Math.sqrt(squares));
    return Number.isFinite(factor) ? factor : 1;
  });
}

const scaledRows = (t: Tensor, factor: Float32Array): Tensor => {
  const inputs = t.data.length / t.shape[0];
  return tensor('f32', t.shape, (t.data as Float32Array).map((v, i) => v * factor[Math.floor(i / inputs)]));
};

/**
 * Copies a simplified float graph at the training batch size. With statistics the network begins as the float one, but for what batches
 * differ from the whole: γ and β are the standard deviations and means themselves. The size of normalised weights has no effect but on how
 * fast they learn; in float models that had normalisation folded in, channels that it had switched off are tiny, and would be thrown about.
 * So all begin at the same size.
 */
export function trainable(g: Graph, o: TrainableOptions = {}): Trainable {
  const b = createBuilder(`${g.name}.train`);
  const producer = producers(g);
  const layerOf = new Map(layersOf(g).map((l) => [l.node, l]));
  const values = new Map<ValueId, ValueId>();
  const layers: TrainableLayer[] = [];
  const parameters: Parameter[] = [];
  const shared = new Map<ValueId, Parameter>();

  const parameter = (name: string, initial: Tensor, decay = 0): Parameter => {
    const p = { id: b.input(name, { dtype: initial.dtype, shape: initial.shape }), name, initial, rateScale: 1, decay };
    parameters.push(p);
    return p;
  };
  const define = (id: ValueId, value: ValueId): void => void values.set(id, o.value ? o.value(b, id, value) : value);

  const layer = (n: Node, l: Layer): ValueId => {
    const known = shared.get(l.weight);
    const statistics = known === undefined && n.op === 'conv' && typeOf(g, l.output).shape.length === 4 ? o.statistics?.get(l.name) : undefined;
    const given = o.weights?.get(l.weight) ?? constantData(producer, l.weight)!;
    const size = statistics ? evened(given) : new Float32Array(given.shape[0]).fill(1);
    const weight = known ?? parameter(`${l.name}.weight`, scaledRows(given, size), o.decay ?? 0);
    shared.set(l.weight, weight);
    const w = o.weight ? o.weight(b, l, weight.id, size) : weight.id;
    const attrs = n.attrs as ConvAttrs;
    const x = values.get(l.input)!;
    if (!statistics) {
      const bias = n.inputs[2] === undefined ? null : constantData(producer, n.inputs[2]);
      const p = bias && parameter(`${l.name}.bias`, bias);
      layers.push({ layer: l, weight, bias: p, norm: null });
      return b.add(n.op, [x, w, ...(n.inputs[2] === undefined ? [] : [p ? p.id : values.get(n.inputs[2])!])], n.attrs);
    }
    const channels = statistics.mean.length;
    const vector = (name: string, data: Float32Array): Parameter => parameter(`${l.name}.${name}`, tensor('f32', [channels, 1, 1], data));
    const gamma = vector('gamma', statistics.variance.map((v) => Math.sqrt(v + EPSILON)));
    const beta = vector('beta', statistics.mean);
    const z = b.add('conv', [x, w], { ...attrs, activation: null });
    const flat = (v: ValueId): ValueId => compose.reshapeTo(b, v, [channels, 1, 1]);
    const mean = flat(compose.reduceMean(b, z, POSITIONS, false));
    const variance = b.add('relu', [compose.sub(b, flat(compose.reduceMean(b, compose.square(b, z), POSITIONS, false)), compose.square(b, mean))]);
    const factor = compose.div(b, b.add('abs', [gamma.id]), b.add('sqrt', [compose.shift(b, variance, EPSILON)]));
    const y = compose.add(b, compose.mul(b, z, factor), compose.sub(b, beta.id, compose.mul(b, mean, factor)));
    layers.push({ layer: l, weight, bias: null, norm: { gamma, beta, mean, variance } });
    return clamped(b, y, attrs.activation);
  };

  const inputs = new Map(g.inputs.map((id) => [id, b.input(valueOf(g, id).name, typeOf(g, id))]));
  for (const [id, input] of inputs) define(id, input);
  for (const n of g.nodes) {
    b.origin = n.origin;
    const l = layerOf.get(n);
    if (isConst(n)) values.set(n.outputs[0], b.const(n.attrs.data));
    else if (l) define(l.output, layer(n, l));
    else b.addMany(n.op, n.inputs.map((i) => values.get(i)!), n.attrs).forEach((v, i) => define(n.outputs[i], v));
  }
  return { b, inputs, values, layers, parameters };
}

/** What a trained layer is without normalisation, for {@link replaceConstants}. */
export interface FoldedLayer extends LayerConstants {
  readonly weight: Tensor;
  /** Factor of each output channel's weights, and so of its quantisation step; codes do not change where it is positive. */
  readonly factor: Float32Array;
}

/**
 * Folds normalisation by given (population) statistics into weights and bias: W·|γ|/√(variance + ε) and β − mean·|γ|/√(variance + ε).
 * @param weight as the layer multiplies with, so quantised where it is
 */
export function foldLayer(l: TrainableLayer, current: (p: Parameter) => Tensor, weight: Tensor, population: ChannelStatistics | null): FoldedLayer {
  const outs = weight.shape[0];
  if (!l.norm || !population) {
    return { weight, ...(l.bias ? { bias: current(l.bias).data as Float32Array } : {}), factor: new Float32Array(outs).fill(1) };
  }
  const [gamma, beta] = [l.norm.gamma, l.norm.beta].map((p) => current(p).data as Float32Array);
  const factor = Float32Array.from(population.variance, (v, c) => Math.max(Math.abs(gamma[c]), LEAST_GAMMA) / Math.sqrt(v + EPSILON));
  return {
    weight: scaledRows(weight, factor),
    bias: Float32Array.from(beta, (v, c) => v - population.mean[c] * factor[c]),
    factor,
  };
}
