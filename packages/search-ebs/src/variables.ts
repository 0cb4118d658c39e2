/** What a search by strengths decides: the bits of each layer's weights, and of each activation that layers read. */
import type { ValueId } from '@bitloom/ir';
import type { Bits } from '@bitloom/numerics';
import { type BitChoice, type Budget, type SearchProblem, activationChoices, fixedCost, layerCost, weightChoices } from '@bitloom/search';
import type { Layer } from '@bitloom/transforms';

/** Candidates of one tensor; with several, its strengths lie at `offset` of the vector of all. */
export interface Variable {
  /** Weight value, or first value of an activation group. */
  readonly id: ValueId;
  readonly bits: readonly Bits[];
  readonly offset: number;
}

/** A layer's cost for every pair of candidates, [weight bits][activation bits], in the unit of the budget. */
export interface CostMatrix {
  readonly weights: Variable;
  /** Null for inputs that stay float. */
  readonly activations: Variable | null;
  readonly costs: readonly (readonly number[])[];
}

export interface Variables {
  readonly all: readonly Variable[];
  /** Length of the vector of strengths. */
  readonly size: number;
  /** By id. */
  readonly of: ReadonlyMap<ValueId, Variable>;
  readonly costs: readonly CostMatrix[];
  /** Cost that no choice changes. */
  readonly fixed: number;
}

export function variablesOf(p: SearchProblem, budget: Budget): Variables {
  const all = new Map<ValueId, Variable>();
  let size = 0;
  const add = (id: ValueId, bits: readonly Bits[]): void => {
    if (all.has(id)) return;
    all.set(id, { id, bits, offset: size });
    if (bits.length > 1) size += bits.length;
  };
  for (const l of p.layers) add(l.weight, weightChoices(p, l));
  const choices = activationChoices(p);
  const read = new Map<string, ValueId>();
  for (const { id, layers } of p.groups) {
    if (layers.length > 0) add(id, choices.get(id)!);
    for (const l of layers) read.set(l.name, id);
  }
  const matrix = (l: Layer): CostMatrix => {
    const weights = all.get(l.weight)!;
    const activations = all.get(read.get(l.name) ?? '') ?? null;
    return { weights, activations, costs: weights.bits.map((w) => (activations?.bits ?? [32]).map((a) => layerCost(p.graph, budget, l, w, a))) };
  };
  return { all: [...all.values()], size, of: all, costs: p.layers.map(matrix), fixed: fixedCost(budget) };
}

/** log softmax of a variable's strengths; [0] for one candidate. */
export function logShares(v: Variable, strengths: ArrayLike<number>): number[] {
  if (v.bits.length === 1) return [0];
  const own = v.bits.map((_, i) => strengths[v.offset + i]);
  const top = Math.max(...own);
  const total = top + Math.log(own.reduce((s, r) => s + Math.exp(r - top), 0));
  return own.map((r) => r - total);
}

const sharesOf = (v: Variable | null, strengths: ArrayLike<number>): number[] => (v ? logShares(v, strengths).map(Math.exp) : [1]);

/** Σ pᵀ·C·q over the layers, and what is fixed. */
export const expectedCost = (v: Variables, strengths: ArrayLike<number>): number => v.costs.reduce((sum, { weights, activations, costs }) => {
  const [p, q] = [sharesOf(weights, strengths), sharesOf(activations, strengths)];
  return sum + costs.reduce((s, row, i) => s + p[i] * row.reduce((t, c, j) => t + c * q[j], 0), 0);
}, v.fixed);

/** Mean entropy of the variables that have a choice, in bits; 0 without any. */
export function meanEntropy({ all }: Variables, strengths: ArrayLike<number>): number {
  const open = all.filter((v) => v.bits.length > 1);
  const entropies = open.map((v) => logShares(v, strengths).reduce((s, l) => s - (l * Math.exp(l)) / Math.LN2, 0));
  return open.length === 0 ? 0 : entropies.reduce((s, e) => s + e, 0) / open.length;
}

/** Strengths whose shares are 1 for the bits of a choice and 0 for others. */
export function decided(p: SearchProblem, { all, size }: Variables, c: BitChoice): Float32Array {
  const chosen = new Map<ValueId, Bits>([...p.layers.map((l) => [l.weight, c.weights.get(l.name)!] as const), ...c.activations]);
  const strengths = new Float32Array(size).fill(-1e4);
  for (const v of all) if (v.bits.length > 1) strengths[v.offset + v.bits.indexOf(chosen.get(v.id)!)] = 0;
  return strengths;
}
