/** A float model made ready for every contender: quantised uniformly, lowered, planned, exported. */
import { type CIsa, emitC } from '@bitloom/backend-c';
import { addressOf, emitWasm } from '@bitloom/backend-wasm';
import { DEFAULT_CALIBRATION, type Histogram, chooseParams, collectHistograms, observedValues } from '@bitloom/calibrate';
import type { CostTable, Plan } from '@bitloom/codegen';
import { type TargetName, plansFor, prepare } from '@bitloom/compiler';
import { batches, sampleSpecs, syntheticSource } from '@bitloom/data';
import { type Graph, type ValueId, valueOf } from '@bitloom/ir';
import type { Program } from '@bitloom/kernel-spec';
import type { Bits, QuantScheme } from '@bitloom/numerics';
import { exportQdq, importOnnx } from '@bitloom/onnx';
import { type Tensor, reshape } from '@bitloom/tensor';
import { activationScheme, applyAssignment, applyCalibration, lowerGraph, markCandidates, quantizable, weightScheme } from '@bitloom/transforms';
import type { CNetwork } from './c-main.js';
import type { WasmNetwork } from './lab.js';

/** Weight and activation bits, or floats. */
export type Precision = 'f32' | readonly [Bits, Bits];

export interface Network {
  /** The ONNX file. */
  readonly bytes: Uint8Array;
  readonly graph: Graph;
  /** Random inputs by ONNX name. */
  readonly inputs: ReadonlyMap<string, Tensor>;
  readonly histograms: ReadonlyMap<ValueId, Histogram>;
}

/** Imports a model and runs it once on random inputs for ranges, which are all that speed may depend on. */
export async function openNetwork(bytes: Uint8Array): Promise<Network> {
  const graph = await prepare(importOnnx(bytes, { batch: 1 }).graph);
  const specs = graph.inputs.map((id) => ({ name: valueOf(graph, id).name, ...valueOf(graph, id).type }));
  const source = syntheticSource(sampleSpecs(specs), 1, 1);
  const histograms = await collectHistograms(graph, observedValues(graph), source);
  for await (const b of batches(source, 1, [0])) {
    return { bytes, graph, histograms, inputs: new Map(specs.map((s) => [s.name, reshape(b.inputs.get(s.name)!, s.shape)])) };
  }
  throw new Error('a source of one sample has one batch');
}

/** The calibrated graph with the same bits everywhere; `ends` of the network at 8 bits, as the compiler has them by default. */
export function quantized(n: Network, [w, a]: readonly [Bits, Bits], pinEnds: boolean): Graph {
  const { layers, groups } = quantizable(n.graph);
  const ends = new Set(pinEnds ? [layers[0], layers[layers.length - 1]].map((l) => l.name) : []);
  const wide = (g: (typeof groups)[number]): boolean => g.layers.length === 0 || g.layers.some((l) => ends.has(l.name));
  const schemes = new Map<ValueId, QuantScheme>([
    ...layers.map((l) => [l.weight, weightScheme(ends.has(l.name) ? 8 : w)] as const),
    ...groups.flatMap((g) => g.values.map((v) => [v, activationScheme(wide(g) ? 8 : a)] as const)),
  ]);
  const bits: readonly Bits[] = [1, 2, 3, 4, 5, 6, 7, 8];
  const chosen = applyAssignment(markCandidates(n.graph, bits, bits), schemes);
  return applyCalibration(chosen, chooseParams(chosen, n.histograms, { ...DEFAULT_CALIBRATION, method: 'minmax', weights: 'minmax' }));
}

export const programOf = (n: Network, p: Precision, pinEnds: boolean): Program => lowerGraph(p === 'f32' ? n.graph : quantized(n, p, pinEnds));

/** The model at W8A8 as onnxruntime runs it, made by the compiler's own calibration. */
export const qdqOf = (n: Network): Uint8Array => exportQdq(quantized(n, [8, 8], true));

/** @param costs a table that goes before the shipped ones */
export async function wasmNetwork(program: Program, target: string, costs: CostTable | null): Promise<WasmNetwork> {
  const [plan] = plansFor(program, target as TargetName, costs);
  const { wasm, layout } = await emitWasm(plan);
  return {
    wasm, weights: plan.weights.slice(0, plan.packedBytes), weightsBase: layout.weightsBase, steps: plan.calls.length,
    inputs: plan.inputs.map((p) => ({ name: p.name, address: addressOf(layout, p.location) })),
    outputs: plan.outputs.map((p) => ({ address: addressOf(layout, p.location), bytes: p.location.bytes })),
  };
}

/** @param isa instructions to use; null: code for all, of which the machine takes its best */
export function cNetwork(program: Program, isa: CIsa | null, costs: CostTable | null): CNetwork {
  const plans = plansFor(program, 'c', costs).filter((p) => isa === null || p.target === 'portable' || p.target === isa);
  const bytes = (ports: Plan['inputs']): number[] => ports.map((p) => p.location.bytes);
  return { name: 'model', files: emitC(plans, { name: 'model' }), inputs: bytes(plans[0].inputs), outputs: bytes(plans[0].outputs) };
}
