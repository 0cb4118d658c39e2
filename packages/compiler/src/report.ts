/** What reports say of a network. */
import type { CostModel, Plan } from '@bitloom/codegen';
import { type Graph, type ValueId, producers, valueOf } from '@bitloom/ir';
import { classifierLogits } from '@bitloom/search';
import type { DType } from '@bitloom/tensor';
import { type Layer, layerBits, layersOf } from '@bitloom/transforms';

export interface LayerReport {
  readonly name: string;
  readonly op: string;
  readonly weightBits: number;
  readonly activationBits: number;
  /** On the first target. */
  readonly kernel: string;
  /** Predicted time of the layer there. */
  readonly ns: number;
  /** The very call was timed. */
  readonly measured: boolean;
  /** Next best kernel and its time. */
  readonly runnerUp: string | null;
  readonly runnerUpNs: number | null;
  readonly macs: number;
  readonly params: number;
}

export interface NetworkReport {
  readonly layers: readonly LayerReport[];
  readonly bits: { readonly weights: number; readonly activations: number };
  readonly bops: number;
  readonly floatWeightBytes: number;
}

export type KernelReport = Pick<LayerReport, 'kernel' | 'ns' | 'measured' | 'runnerUp' | 'runnerUpNs'>;

/** Kernel and time of each call's origin in a plan (for convolutions, of them alone); 'nest' where none of its calls is of the conv family. */
export function kernelsOf(plan: Plan, costs: CostModel): ReadonlyMap<string, KernelReport> {
  const found = new Map<string, KernelReport>();
  for (const { call, variant, ranking: [first, second] } of plan.calls) {
    const known = found.get(call.origin);
    if (call.family === 'conv') {
      const { measured } = costs.conv(first.variant, call.params);
      found.set(call.origin, { kernel: variant!.kernel, ns: first.cost, measured, runnerUp: second?.variant.name ?? null, runnerUpNs: second?.cost ?? null });
    } else if (!known || known.kernel === 'nest') {
      const { ns, measured } = costs.nest(call.params);
      found.set(call.origin, { kernel: 'nest', ns: ns + (known?.ns ?? 0), measured: measured && (known?.measured ?? true), runnerUp: null, runnerUpNs: null });
    }
  }
  return found;
}

const UNKNOWN: KernelReport = { kernel: 'nest', ns: 0, measured: false, runnerUp: null, runnerUpNs: null };

/** Layers with their bits; averages over parameters (weights) and MACs (activations). Floats count 32 bits. */
export function networkReport(g: Graph, kernels: ReadonlyMap<string, KernelReport>): NetworkReport {
  const layers = layersOf(g);
  const bits = layers.map((l) => layerBits(g, l));
  const sum = (f: (l: Layer, i: number) => number): number => layers.reduce((s, l, i) => s + f(l, i), 0);
  const params = sum((l) => l.params);
  const macs = sum((l) => l.macs);
  return {
    layers: layers.map((l, i) => ({
      name: l.name, op: l.node.op, weightBits: bits[i].weights, activationBits: bits[i].activations,
      ...(kernels.get(l.name) ?? UNKNOWN), macs: l.macs, params: l.params,
    })),
    bits: {
      weights: params ? sum((l, i) => l.params * bits[i].weights) / params : 32,
      activations: macs ? sum((l, i) => l.macs * bits[i].activations) / macs : 32,
    },
    bops: sum((l, i) => l.macs * bits[i].weights * bits[i].activations),
    floatWeightBytes: params * 4,
  };
}

/** What the first output of a classifier holds (logarithms of probabilities serve as logits); null for other networks. */
export function outputKind(g: Graph): 'logits' | 'probabilities' | null {
  const producer = producers(g);
  let last = producer.get(g.outputs[0]);
  while (last && (last.op === 'reshape' || last.op === 'identity')) last = producer.get(last.inputs[0]);
  if (last?.op === 'softmax') return 'probabilities';
  return last?.op === 'log_softmax' || classifierLogits(g) !== null ? 'logits' : null;
}

/** Scale and zero point of a port whose values the network stores as codes; outputs are always floats. */
export function portQuantization(g: Graph, id: ValueId): { scale: number | null; zeroPoint: number | null } {
  const p = valueOf(g, id).precision;
  return p.state === 'calibrated' ? { scale: p.params.scale[0], zeroPoint: p.params.zeroPoint[0] } : { scale: null, zeroPoint: null };
}

/** An input or output of a network. */
export interface PortReport {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
}

export function portOf(g: Graph, id: ValueId): PortReport {
  const { name, type } = valueOf(g, id);
  return { name, dtype: type.dtype, shape: type.shape };
}
