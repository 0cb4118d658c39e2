/** What a compilation reports: the `--json` contract of `bitloom compile`. */
import type { Plan } from '@bitloom/codegen';
import { type Graph, typeOf, valueOf } from '@bitloom/ir';
import { convMacs } from '@bitloom/kernel-spec';
import { type Layer, layerBits, layersOf } from '@bitloom/transforms';

export interface LayerReport {
  readonly name: string;
  readonly op: string;
  readonly weightBits: number;
  readonly activationBits: number;
  /** Of the first target. */
  readonly kernel: string;
  readonly macs: number;
  readonly params: number;
}

export interface NetworkReport {
  readonly layers: readonly LayerReport[];
  readonly bits: { readonly weights: number; readonly activations: number };
  readonly bops: number;
  readonly floatWeightBytes: number;
}

/** Kernel of each layer in a plan, by ONNX node name; 'nest' where the layer is no conv-family call. */
export function kernelsOf(plan: Plan): ReadonlyMap<string, string> {
  return new Map(plan.calls.filter((c) => c.variant).map((c) => [c.call.origin, c.variant!.kernel]));
}

/** Layers with their bits; averages over parameters (weights) and MACs (activations). Floats count 32 bits. */
export function networkReport(g: Graph, kernels: ReadonlyMap<string, string>): NetworkReport {
  const layers = layersOf(g);
  const bits = layers.map((l) => layerBits(g, l));
  const sum = (f: (l: Layer, i: number) => number): number => layers.reduce((s, l, i) => s + f(l, i), 0);
  const params = sum((l) => l.params);
  const macs = sum((l) => l.macs);
  return {
    layers: layers.map((l, i) => ({
      name: l.name, op: l.node.op, weightBits: bits[i].weights, activationBits: bits[i].activations, kernel: kernels.get(l.name) ?? 'nest', macs: l.macs, params: l.params,
    })),
    bits: { weights: params ? sum((l, i) => l.params * bits[i].weights) / params : 32, activations: macs ? sum((l, i) => l.macs * bits[i].activations) / macs : 32 },
    bops: sum((l, i) => l.macs * bits[i].weights * bits[i].activations),
    floatWeightBytes: params * 4,
  };
}

/** MACs of the conv-family calls of a plan. */
export const planMacs = (plan: Plan): number => plan.calls.reduce((s, c) => s + (c.call.family === 'conv' ? convMacs(c.call.params) : 0), 0);

/** First quantisation of a graph input: its own parameters, if it is stored as codes. */
export function inputQuantisation(g: Graph, id: string): { scale: number | null; zeroPoint: number | null } {
  const p = valueOf(g, id).precision;
  return p.state === 'calibrated' ? { scale: p.params.scale[0], zeroPoint: p.params.zeroPoint[0] } : { scale: null, zeroPoint: null };
}

export const portOf = (g: Graph, id: string): { name: string; dtype: ReturnType<typeof typeOf>['dtype']; shape: number[] } => ({
  name: valueOf(g, id).name, dtype: typeOf(g, id).dtype, shape: [...typeOf(g, id).shape],
});
