/**
 * Second-order sensitivities: Ω(b) = 1/(2N) Σ_n ⟨∇_n, Δ(b)⟩² for the weights of every layer and for every activation, all bits
 * from one forward and one backward pass a batch. Source: MPQCO (arXiv 2110.06554) with f the softmax probability of the label,
 * which makes it a Fisher form (with the data's labels the empirical one); ⟨∇_W ℓ_n, ΔW⟩ = ⟨δ_n, conv(x_n, ΔW)⟩ with δ_n = ∂ℓ_n/∂(conv output), so that no
 * per-sample weight gradients exist. Models without a classifier head: Gauss–Newton with a squared-error output loss, one random
 * ±1 probe v of the outputs a sample (E⟨Jᵀv, Δ⟩² = ‖JΔ‖²).
 */
import { type Progress, activationParams, batchOf, graphBatches, mergeHistograms, quantizedValue, weightParams } from '@bitloom/calibrate';
import type { DataSource } from '@bitloom/data';
import { fail } from '@bitloom/diagnostics';
import { compileGraph } from '@bitloom/engine';
import { type Graph, GraphBuilder, type Node, type ValueId, constantData, producers, typeOf, valueOf } from '@bitloom/ir';
import { type Bits, type QuantParams, fakeQuantize } from '@bitloom/numerics';
import { type ConvAttrs, beforeActivation, compose, opTable } from '@bitloom/ops';
import { Rng, allocate, elementCount, sameShape, tensor } from '@bitloom/tensor';
import { type Layer, activationScheme, addGradients, weightScheme } from '@bitloom/transforms';
import { type SearchProblem, activationChoices, weightChoices } from './contract.js';

export interface Sensitivities {
  /** Ω by layer name and bits. */
  readonly weights: ReadonlyMap<string, ReadonlyMap<Bits, number>>;
  /** Ω by activation group id and bits. */
  readonly activations: ReadonlyMap<ValueId, ReadonlyMap<Bits, number>>;
}

/** The f32 value that an output is made of: itself, or what the index or cast of a closing arg_max or the like came from; null if none. */
function floatSource(g: Graph, producer: ReadonlyMap<ValueId, Node>, id: ValueId): ValueId | null {
  for (let at = id; ; ) {
    if (typeOf(g, at).dtype === 'f32') return at;
    const n = producer.get(at);
    if (n === undefined || n.inputs.length === 0) return null;
    [at] = n.inputs;
  }
}

/** Logits of a classifier: the operand of a closing softmax, or a [batch, classes] output that does not mirror an input. */
export function classifierLogits(g: Graph): ValueId | null {
  const producer = producers(g);
  const [out] = g.outputs;
  const batched = (id: ValueId): boolean => {
    const { dtype, shape } = typeOf(g, id);
    return dtype === 'f32' && shape.length === 2 && shape[0] === batchOf(g);
  };
  const last = producer.get(out);
  if (last && (last.op === 'softmax' || last.op === 'log_softmax')) return batched(last.inputs[0]) ? last.inputs[0] : null;
  const shape = typeOf(g, out).shape;
  return g.outputs.length === 1 && batched(out) && shape[1] > 1 && !g.inputs.some((i) => sameShape(typeOf(g, i).shape, shape)) ? out : null;
}

/** Delta constants kept in one compiled graph. */
const MAX_DELTA_BYTES = 192 * 2 ** 20;

/** y without its mean per output channel over the batch: bias correction takes that part of the error away. */
function centred(b: GraphBuilder, l: Layer, y: ValueId): ValueId {
  const rank = b.shapeOf(y).length;
  const channel = l.node.op === 'conv' ? 1 : rank - 1;
  const axes = Array.from({ length: rank }, (_, i) => i).filter((i) => i !== channel);
  // The mean of one position is that position itself: nothing would be left to measure.
  const positions = axes.reduce((n, a) => n * b.shapeOf(y)[a], 1);
  return positions < MIN_POSITIONS ? y : compose.sub(b, y, compose.reduceMean(b, y, axes, true));
}

/** Q(x) − x as core ops. */
export const quantizationNoise = (b: GraphBuilder, x: ValueId, q: QuantParams): ValueId => compose.sub(b, quantizedValue(b, x, q), x);

/** Positions per channel below which a batch mean says little. */
const MIN_POSITIONS = 16;

/** What one ⟨·,·⟩ belongs to: a layer or a group, at some bits. */
interface Probe {
  readonly kind: 'weights' | 'activations';
  readonly id: string;
  readonly bits: Bits;
}

/** @throws E403 when gradients cannot flow from the outputs to a layer, E208 when a sensitivity is not finite */
export async function measureSensitivities(p: SearchProblem & Pick<Probing, 'labels'>): Promise<Sensitivities> {
  const g = p.graph;
  const batch = batchOf(g);
  const producer = producers(g);

  // Work is cut so that the ΔW constants of one compiled graph stay small.
  const chunks: Layer[][] = [[]];
  let bytes = 0;
  for (const l of p.layers) {
    const size = elementCount(typeOf(g, l.weight).shape) * 4 * p.weightBits.length;
    if (bytes + size > MAX_DELTA_BYTES && chunks.at(-1)!.length > 0) {
      chunks.push([]);
      bytes = 0;
    }
    chunks.at(-1)!.push(l);
    bytes += size;
  }

  const choices = activationChoices(p);
  const weights = new Map(p.layers.map((l) => [l.name, new Map<Bits, number>()]));
  const activations = new Map(p.groups.map((a) => [a.id, new Map<Bits, number>()]));
  for (const [i, layers] of chunks.entries()) {
    const groups = i === 0 ? p.groups : [];
    const wrt = [...new Set([...layers.map((l) => l.output), ...groups.map((a) => a.values[0])])];
    const probes: Probe[] = [];
    const step = `sensitivities${chunks.length > 1 ? ` ${i + 1}/${chunks.length}` : ''}`;
    const sums = await measureProbes(p, wrt, step, (b, cotangent) => {
      const values: ValueId[] = [];
      const probe = (kind: Probe['kind'], id: string, bits: Bits, value: ValueId): void => {
        probes.push({ kind, id, bits });
        values.push(value);
      };
      const perSample = (x: ValueId, y: ValueId): ValueId =>
        compose.reduceSum(b, compose.reshapeTo(b, compose.mul(b, x, y), [batch, elementCount(b.shapeOf(x)) / batch]), [1], false);
      for (const l of layers) {
        const d = cotangent.get(l.output);
        const w = constantData(producer, l.weight)!;
        const float = w.data as Float32Array;
        const delta = d && beforeActivation(b, l.output, d, (l.node.attrs as ConvAttrs).activation);
        for (const bits of weightChoices(p, l)) {
          if (!delta) {
            weights.get(l.name)!.set(bits, 0);
            continue;
          }
          const q = fakeQuantize(float, w.shape, weightParams(w, weightScheme(bits), p.calibration.weights));
          const dw = b.const(tensor('f32', w.shape, q.map((v, k) => v - float[k])), 'delta');
          const y = b.add(l.node.op, [l.input, dw], { ...(l.node.attrs as object), activation: null });
          probe('weights', l.name, bits, perSample(delta, p.calibration.biasCorrection ? centred(b, l, y) : y));
        }
      }
      for (const a of groups) {
        const d = cotangent.get(a.values[0]);
        const h = mergeHistograms(a.values.map((v) => p.histograms.get(v)!));
        for (const bits of choices.get(a.id)!) {
          if (d) probe('activations', a.id, bits, perSample(d,
            quantizationNoise(b, a.values[0], activationParams(h, activationScheme(bits), p.calibration))));
          else activations.get(a.id)!.set(bits, 0);
        }
      }
      return values;
    });
    probes.forEach((q, k) => {
      if (!Number.isFinite(sums[k])) fail('E208', 'a sensitivity is not finite',
        { node: q.id, found: String(sums[k]), remedy: 'check the model and the calibration data for NaN or huge values' });
      (q.kind === 'weights' ? weights : activations).get(q.id)!.set(q.bits, sums[k]);
    });
  }
  return { weights, activations };
}

/** What the gradients are those of: outputs, seeded by inputs of the graph that {@link measureProbes} feeds. */
export interface Probing {
  /** Batch size of the leading dimension. */
  readonly graph: Graph;
  readonly data: DataSource;
  /** Whose labels the loss is of: those of the data where it has any (default), or the model's own. */
  readonly labels?: 'data' | 'model';
  readonly seed: number;
  readonly progress: Progress;
}

/**
 * Differentiates the loss (see the head of this file) and measures: Σ over samples of probe², over 2N.
 * @param wrt values whose cotangents `build` gets (null: nothing flows)
 * @param build emits the probes, each of shape [batch]
 * @throws E403 when gradients cannot flow from the outputs, E302 for a label outside the classes
 */
export async function measureProbes(p: Probing, wrt: readonly ValueId[], step: string,
  build: (b: GraphBuilder, cotangents: ReadonlyMap<ValueId, ValueId | null>) => readonly ValueId[]): Promise<Float64Array> {
  const g = p.graph;
  const producer = producers(g);
  const outputs = [...new Set(g.outputs.flatMap((o) => floatSource(g, producer, o) ?? []))];
  if (outputs.length === 0) fail('E403', 'no output is computed from floats, so nothing says how quantisation changes it',
    { node: g.outputs.map((o) => valueOf(g, o).name).join(', ') });
  const logits = classifierLogits({ ...g, outputs });
  const heads = logits ? [logits] : outputs;
  const b = GraphBuilder.from(g, opTable);
  const seeds = heads.map((h) => b.input(`seed.${h}`, typeOf(g, h)));
  const cotangents = addGradients(b, g, new Map(heads.map((h, k) => [h, seeds[k]])), wrt);
  const probes = build(b, cotangents);
  const sums = new Float64Array(probes.length);
  if (probes.length === 0) return sums;
  const session = await compileGraph(b.build(probes));
  const rng = new Rng(p.seed);
  const size = batchOf(g);
  const forward = logits ? await compileGraph(g, [logits]) : null;
  let done = 0;
  try {
    for await (const batch of graphBatches(g, p.data)) {
      const z = forward ? (await forward.run(batch.inputs)).get(logits!)! : null;
      // Sample by sample, so that what is drawn does not depend on the batch size.
      const fed = heads.map((h) => allocate('f32', typeOf(g, h).shape));
      for (let n = 0; n < size; n++) {
        if (!z) {
          for (const { data } of fed) {
            for (let i = Math.ceil((n * data.length) / size); i < ((n + 1) * data.length) / size; i++) data[i] = rng.u32() & 1 ? 1 : -1;
          }
          continue;
        }
        const classes = z.shape[1];
        const row = fed[0].data.subarray(n * classes, (n + 1) * classes) as Float32Array;
        const own = p.labels === 'model' || !p.data.labelled;
        row.set(logitGradient((z.data as Float32Array).subarray(n * classes, (n + 1) * classes), own ? rng : batch.labels![n]));
      }
      const out = await session.run(new Map([...batch.inputs, ...seeds.map((s, i) => [s, fed[i]] as const)]));
      probes.forEach((q, k) => {
        const v = out.get(q)!.data;
        for (let n = 0; n < batch.count; n++) sums[k] += Number(v[n]) ** 2;
      });
      done += batch.count;
      p.progress(step, done, p.data.size);
    }
  } finally {
    await session.close();
    await forward?.close();
  }
  return sums.map((s) => s / (2 * p.data.size));
}

/**
 * ∂ℓ/∂logits: softmax − onehot for a label, or a random vector v with E[vvᵀ] = diag(p) − ppᵀ, the Fisher matrix of the softmax:
 * v_c = √p_c ε_c − p_c Σ_k √p_k ε_k with random signs ε. That is what labels drawn from the model give in expectation, but every
 * sample adds its share, where drawn labels leave it to the few unlikely ones.
 */
function logitGradient(z: Float32Array, label: number | Rng): Float64Array {
  const top = z.reduce((a, v) => Math.max(a, v), -Infinity);
  const e = Float64Array.from(z, (v) => Math.exp(v - top));
  const total = e.reduce((a, v) => a + v, 0);
  const prob = e.map((v) => v / total);
  if (typeof label === 'number') {
    if (!(label >= 0 && label < z.length)) {
      fail('E302', 'a label is outside the classes of the model', { found: String(label), expected: `0 to ${z.length - 1}` });
    }
    return prob.map((v, c) => (c === label ? v - 1 : v));
  }
  const noise = prob.map((v) => (label.u32() & 1 ? Math.sqrt(v) : -Math.sqrt(v)));
  const sum = noise.reduce((s, v) => s + v, 0);
  return noise.map((v, c) => v - prob[c] * sum);
}
