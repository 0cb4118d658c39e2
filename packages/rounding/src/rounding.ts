/** Post-training rounding, layer by layer. */
import type { Progress } from '@bitloom/calibrate';
import type { DataSource } from '@bitloom/data';
import { type Graph, type Node, type ValueId, constantData, producers, typeOf } from '@bitloom/ir';
import { type QuantParams, fakeQuantize } from '@bitloom/numerics';
import { Rng, type Tensor, elementCount, tensor } from '@bitloom/tensor';
import { type Layer, type LayerConstants, layersOf } from '@bitloom/transforms';
import { Moments } from './moments.js';
import { descend, nearest, onGrid } from './quadratic.js';
import { relax } from './relaxation.js';
import { Twins } from './twins.js';

/** How weights become codes: the nearest one, or as their rounding was learnt. */
export const ROUNDINGS = ['nearest', 'adaround'] as const;
export type Rounding = (typeof ROUNDINGS)[number];

export interface RoundingOptions {
  readonly seed: number;
  /** Biases take away the mean error of each output channel, so that only what varies about it counts in rounding. */
  readonly biasCorrection: boolean;
  /** Weights that keep their nearest codes: what the model itself says of them. */
  readonly fixed?: ReadonlySet<ValueId>;
  readonly progress?: Progress;
  readonly warn?: (message: string) => void;
  /** About how many positions of a layer's output, over all samples, are looked at. */
  readonly positions?: number;
  /** Bytes of activations kept between layers; what needs more is computed again from the beginning. */
  readonly room?: number;
}

/** A layer after rounding. */
export interface RoundedLayer extends LayerConstants {
  /** Values that `params` can express: code · scale. None where weights go to the nearest code. */
  readonly weight?: Tensor;
  readonly params: QuantParams;
  /** Squared output error of nearest rounding and of this, means over positions, summed over channels; null without `weight`. */
  readonly errors: { readonly nearest: number; readonly found: number } | null;
}

/** Weights of an output channel above which a layer's Gram matrix would take too much memory: at 8,192 it has 256 MiB. */
export const MAX_COLUMNS = 8192;
/** Multiplications of a step of {@link relax} above which a layer is rounded by coordinate descent alone. */
const MAX_STEP = 2 ** 32;
const DEFAULT_POSITIONS = 2 ** 16;
const DEFAULT_ROOM = 2 ** 30;
const DESCENT = { sweeps: 30, refits: 5 };

const sum = (v: Float64Array): number => v.reduce((s, x) => s + x, 0);

/**
 * Rounds the weights of every layer in order, each with the inputs that the rounded layers before it make: {@link relax}, then {@link descend}, on
 * the second moments of the inputs. Scales of output channels are fitted along with the codes. Needs no labels. Layers that share weights, those
 * of more than {@link MAX_COLUMNS} weights an output channel (with a warning), and `fixed` ones are rounded to nearest; their biases are corrected like
 * those of the others: b + E w·x − E ŵ·x̂ (the asymmetric form of bias correction, Nagel et al., arXiv 1906.04721, §4.2).
 * @param g float graph at the batch size to run
 * @param params of weights and activations; weights without any stay float
 * @returns by layer name
 */
export async function learnRounding(
  g: Graph, params: ReadonlyMap<ValueId, QuantParams>, source: DataSource, o: RoundingOptions,
): Promise<Map<string, RoundedLayer>> {
  const producer = producers(g);
  const all = layersOf(g);
  const users = new Map<ValueId, number>();
  for (const l of all) users.set(l.weight, (users.get(l.weight) ?? 0) + 1);
  const layers = all.filter((l) => params.has(l.weight));
  const activations = new Map([...params].filter(([id]) => constantData(producer, id) === null));
  const constants = new Map<Node, LayerConstants>();
  const twins = new Twins(g, activations, constants, source, o.room ?? DEFAULT_ROOM);
  const rng = new Rng(o.seed);
  const found = new Map<string, RoundedLayer>();
  for (const [k, l] of layers.entries()) {
    o.progress?.('rounding', k, layers.length);
    const rounded = await roundLayer(l, users.get(l.weight)! > 1);
    found.set(l.name, rounded);
  }
  o.progress?.('rounding', layers.length, layers.length);
  return found;

  async function roundLayer(l: Layer, shared: boolean): Promise<RoundedLayer> {
    const weight = constantData(producer, l.weight)!;
    const q = params.get(l.weight)!;
    const rows = weight.shape[0];
    const columns = elementCount(weight.shape) / rows;
    const bias = l.node.inputs[2] === undefined ? null : constantData(producer, l.node.inputs[2]);
    const corrects = o.biasCorrection && (l.node.inputs[2] === undefined || bias !== null);
    const wide = columns > MAX_COLUMNS;
    if (wide) o.warn?.(`${l.name}: ${columns} weights a channel are too many to learn their rounding, they go to the nearest code`);
    const free = !wide && !shared && !o.fixed?.has(l.weight);
    const moments = new Moments(l.node, weight, { x: typeOf(g, l.input).shape, y: typeOf(g, l.output).shape }, twins.batches, o.positions ?? DEFAULT_POSITIONS, free, rng);
    await twins.run(l.node, (b, float, quantised) => moments.probe(b, float(l.input), quantised(l.input)), () => moments.next(), (r) => moments.add(r));

    const { finite } = moments;
    if (!finite) o.warn?.(`${l.name}: the data makes infinite or undefined values there, its weights go to the nearest code`);
    const learns = free && finite;
    let data: Float32Array;
    let chosen = q;
    let errors: RoundedLayer['errors'] = null;
    if (learns) {
      const p = moments.quadratic(corrects);
      const start = nearest(p, q);
      const relaxed = rows * columns ** 2 > MAX_STEP ? start : await relax(p, start, q);
      const best = descend(p, relaxed, start, q, DESCENT);
      errors = { nearest: sum(best.errors[0]), found: sum(best.errors[1]) };
      data = onGrid(p, best);
      chosen = { ...q, scheme: { ...q.scheme, axis: 0 }, scale: best.scale, zeroPoint: new Int32Array(rows) };
    } else data = fakeQuantize(weight.data as Float32Array, weight.shape, q);

    const { input, residual } = moments.means;
    const perGroup = rows / (input.length / columns);
    const corrected = corrects && finite && Float32Array.from({ length: rows }, (_, row) => {
      let mean = residual[row];
      const from = Math.floor(row / perGroup) * columns;
      for (let i = 0; i < columns; i++) mean -= (data[row * columns + i] - (weight.data as Float32Array)[row * columns + i]) * input[from + i];
      return ((bias?.data as Float32Array | undefined)?.[row] ?? 0) + mean;
    });
    const used = { weight: tensor('f32', weight.shape, data), ...(corrected ? { bias: corrected } : {}) };
    constants.set(l.node, used);
    return { ...used, ...(learns ? {} : { weight: undefined }), params: chosen, errors };
  }
}
