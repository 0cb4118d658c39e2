/** Predicted times of networks before their bits are chosen. */
import { type CostModel, type Plan, rankVariants } from '@bitloom/codegen';
import { type Graph, type ValueId, producers, valueOf } from '@bitloom/ir';
import type { ConvParams, KernelCall, Program } from '@bitloom/kernel-spec';
import type { Bits, QuantParams } from '@bitloom/numerics';
import { type LatencyModel, toAssignment } from '@bitloom/search';
import { STREAM_BITS, applyAssignment, applyCalibration, lowerGraph, markCandidates, quantizable } from '@bitloom/transforms';
import { type Flavour, candidatesOf, planOf } from './targets.js';

/**
 * The program of a float graph at the same bits everywhere but in streams, with scales of 1: its calls have the shapes of any assignment's,
 * and its results mean nothing.
 */
export function nominalProgram(g: Graph, weightBits: Bits, activationBits: Bits): Program {
  const sites = quantizable(g);
  const assignment = toAssignment(sites, {
    weights: new Map(sites.layers.map((l) => [l.name, weightBits])),
    activations: new Map(sites.groups.map((a) => [a.id, a.layers.length > 0 ? activationBits : STREAM_BITS])),
  });
  const chosen = applyAssignment(markCandidates(g, [weightBits], [activationBits]), assignment);
  const params = new Map<ValueId, QuantParams>();
  for (const [id, scheme] of assignment) {
    const n = scheme.axis === null ? 1 : valueOf(g, id).type.shape[scheme.axis];
    params.set(id, { scheme, scale: new Float32Array(n).fill(1), zeroPoint: new Int32Array(n) });
  }
  return lowerGraph(applyCalibration(chosen, params));
}

/** Predicted ns of one run of a plan. */
export function planTime(plan: Plan, costs: CostModel): number {
  return plan.calls.reduce((s, c) => s + (c.call.family === 'conv' ? c.ranking[0].cost : costs.nest(c.call.params).ns), 0);
}

/** Predicted ns of a network with the same bits everywhere but in streams. @param g as of {@link latencyModel} */
export function uniformTime(g: Graph, bits: Bits, flavour: Flavour, costs: CostModel): number {
  return planTime(planOf(nominalProgram(g, bits, bits), flavour, costs), costs);
}

/** Fewer bits than those of streams, at which the nests show that requantise them: how many they are matters little to their times. */
const FEWER: Bits = 4;

/**
 * Ns that making the inputs of layers from streams takes, by layer; layers that read the same share it equally. Where the call that makes the stream makes them,
 * too, what it takes longer for that.
 * @param plain the program without them
 */
function requantizing(g: Graph, plain: Program, costs: CostModel): Map<string, number> {
  const producer = producers(g);
  const readers = quantizable(g).layers.filter((l) => producer.get(l.input)?.op === 'requantize');
  if (readers.length === 0) return new Map();
  const { buffers, calls } = nominalProgram(g, 8, FEWER);
  const writer = new Map(calls.flatMap((c) => c.results.map((r) => [r, c] as const)));
  const inputs = new Map(calls.flatMap((c) => (c.family === 'conv' ? [[c.origin, writer.get(c.args[0])] as const] : [])));
  const nests = readers.map((l): KernelCall | undefined => {
    let c = inputs.get(l.name);
    // The layer may read its input in another layout.
    while (c && buffers[c.args[0]].quant?.scheme.bits === FEWER) c = writer.get(c.args[0]);
    return c;
  });
  const added = (c: KernelCall | undefined): number => {
    if (c?.family !== 'nest') return 0;
    const stream = c.results.length > 1 ? plain.calls.find((p) => p.origin === c.origin && p.args.length === c.args.length) : undefined;
    return Math.max(0, costs.nest(c.params).ns - (stream?.family === 'nest' ? costs.nest(stream.params).ns : 0));
  };
  return new Map(readers.map((l, i) => [l.name, added(nests[i]) / nests.filter((other) => other === nests[i]).length]));
}

function convsByOrigin(program: Program): Map<string, ConvParams[]> {
  const convs = new Map<string, ConvParams[]>();
  for (const c of program.calls) if (c.family === 'conv') convs.set(c.origin, [...(convs.get(c.origin) ?? []), c.params]);
  return convs;
}

/** Bits up to which results have few codes. */
const FEW_CODES: Bits = 2;

/** Times of a network on a target. @param g simplified float graph, at the batch size to run */
export function latencyModel(g: Graph, flavour: Flavour, costs: CostModel): LatencyModel {
  const program = nominalProgram(g, 8, 8);
  const float = planOf(lowerGraph(g), flavour, costs);
  // Results are taken to have as many bits as inputs; only whether they have few codes counts.
  const [convs, few] = [convsByOrigin(program), convsByOrigin(nominalProgram(g, 8, FEW_CODES))];
  const fixed = program.calls.reduce((s, c) => (c.family === 'nest' ? s + costs.nest(c.params).ns : s), 0);
  const requantized = requantizing(g, program, costs);
  const known = new Map<string, number>();
  return {
    fixed,
    float: planTime(float, costs),
    layer(name, weightBits, activationBits) {
      const key = `${weightBits} ${activationBits} ${name}`;
      let ns = known.get(key);
      if (ns === undefined) {
        ns = ((activationBits > FEW_CODES ? convs : few).get(name) ?? []).reduce((s, p) => s + chosen(p.kind === 'int' ? { ...p, weightBits: weightBits as Bits, activationBits: activationBits as Bits } : p),
          activationBits < STREAM_BITS ? requantized.get(name) ?? 0 : 0);
        known.set(key, ns);
      }
      return ns;
    },
  };

  function chosen(p: ConvParams): number {
    return rankVariants(candidatesOf(flavour, p, costs), p, '', undefined, (v) => costs.conv(v, p).ns)[0].cost;
  }
}
