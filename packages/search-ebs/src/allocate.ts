/** From strengths to bits. */
import type { Bits } from '@bitloom/numerics';
import { type BitChoice, type SearchProblem, activationChoices, choiceCost } from '@bitloom/search';
import { knapsack, solveExact } from '@bitloom/search-mckp';
import { type Variables, logShares } from './variables.js';

/** Loss of bits that must not be taken; finite, so that sums stay numbers. */
const FORBIDDEN = 1e9;

/**
 * The assignment of greatest likelihood within the budget: the strongest candidate of each variable where these fit, else the one that maximises Σ log p, as
 * a multiple-choice knapsack. Of equally strong candidates the narrowest. What is left of the budget is then spent where the strengths are least sure that fewer bits
 * suffice: no tensor gets fewer, and Σ log P(bits ≤ chosen) is maximal, another knapsack (ours; the paper knows no limit, only a penalty).
 */
export function likeliest(p: SearchProblem, v: Variables, strengths: ArrayLike<number>): BitChoice {
  const logs = new Map(v.all.map((u) => [u.id, new Map(u.bits.map((b, i) => [b, logShares(u, strengths)[i]]))]));
  const best = (id: string): Bits => [...logs.get(id)!].reduce((a, c) => (c[1] > a[1] ? c : a))[0];
  const choices = activationChoices(p);
  const free: BitChoice = {
    weights: new Map(p.layers.map((l) => [l.name, best(l.weight)])),
    activations: new Map(p.groups.map((a) => [a.id, v.of.has(a.id) ? best(a.id) : choices.get(a.id)![0]])),
  };
  const { limit } = p.budget!;
  const weightOf = new Map(p.layers.map((l) => [l.name, l.weight]));
  const solved = (loss: (variable: string, b: Bits) => number): BitChoice => {
    const classes = knapsack(p, (l, b) => loss(weightOf.get(l)!, b), (a, b) => (v.of.has(a) ? loss(a, b) : 0));
    const picked = solveExact({ classes, capacity: limit }).choice.map((k, c) => classes[c][k]);
    return { weights: new Map(picked.flatMap((o) => o.weights)), activations: new Map(picked.flatMap((o) => o.activations)) };
  };
  const first = choiceCost(p, free) <= limit ? free : solved((id, b) => -logs.get(id)!.get(b)!);
  const least = new Map<string, Bits>([...p.layers.map((l) => [l.weight, first.weights.get(l.name)!] as const), ...first.activations]);
  const insufficient = (id: string, b: Bits): number =>
    -Math.log(Math.min(1, [...logs.get(id)!].reduce((sum, [other, log]) => sum + (other <= b ? Math.exp(log) : 0), 0)));
  return solved((id, b) => (b < least.get(id)! ? FORBIDDEN : insufficient(id, b)));
}
