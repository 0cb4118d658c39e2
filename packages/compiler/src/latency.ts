/** Predicted times of networks before their bits are chosen. */
import { type CostModel, type Plan, rankVariants } from '@bitloom/codegen';
import type { Graph, ValueId } from '@bitloom/ir';
import { valueOf } from '@bitloom/ir';
import type { ConvParams, Program } from '@bitloom/kernel-spec';
import type { Bits, QuantParams } from '@bitloom/numerics';
import { type LatencyModel, toAssignment } from '@bitloom/search';
import { applyAssignment, applyCalibration, lowerGraph, markCandidates, quantizable } from '@bitloom/transforms';
import { type Flavour, candidatesOf, planOf } from './targets.js';

/**
 * The program of a float graph at the same bits everywhere, with scales of 1: its calls have the shapes of any assignment's, and its
 * results mean nothing.
 */
export function nominalProgram(g: Graph, weightBits: Bits, activationBits: Bits): Program {
  const sites = quantizable(g);
  const assignment = toAssignment(sites, {
    weights: new Map(sites.layers.map((l) => [l.name, weightBits])), activations: new Map(sites.groups.map((a) => [a.id, activationBits])),
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

/** Times of a network on a target. @param g simplified float graph, at the batch size to run */
export function latencyModel(g: Graph, flavour: Flavour, costs: CostModel): LatencyModel {
  const program = nominalProgram(g, 8, 8);
  const float = planOf(lowerGraph(g), flavour, costs);
  const convs = new Map<string, ConvParams[]>();
  let fixed = 0;
  for (const c of program.calls) {
    if (c.family === 'conv') convs.set(c.origin, [...(convs.get(c.origin) ?? []), c.params]);
    else fixed += costs.nest(c.params).ns;
  }
  const known = new Map<string, number>();
  return {
    fixed,
    float: planTime(float, costs),
    layer(name, weightBits, activationBits) {
      const key = `${weightBits} ${activationBits} ${name}`;
      let ns = known.get(key);
      if (ns === undefined) {
        ns = (convs.get(name) ?? []).reduce((s, p) => s + chosen(p.kind === 'int' ? { ...p, weightBits: weightBits as Bits, activationBits: activationBits as Bits } : p), 0);
        known.set(key, ns);
      }
      return ns;
    },
  };

  function chosen(p: ConvParams): number {
    return rankVariants(candidatesOf(flavour, p, costs), p, '', undefined, (v) => costs.conv(v, p).ns)[0].cost;
  }
}
