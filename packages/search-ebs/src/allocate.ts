/** From strengths to bits. */
import type { Bits } from '@bitloom/numerics';
import { type BitChoice, type SearchProblem, activationChoices, choiceCost } from '@bitloom/search';
import { knapsack, solveExact } from '@bitloom/search-mckp';
import { type Variables, logShares } from './variables.js';

/**
 * The assignment of greatest likelihood within the budget: the strongest candidate of each variable where these fit, else the one that maximises Σ log p, as
 * a multiple-choice knapsack. Of equally strong candidates the narrowest.
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
  if (choiceCost(p, free) <= limit) return free;
  const weightOf = new Map(p.layers.map((l) => [l.name, l.weight]));
  const classes = knapsack(p, (l, b) => -logs.get(weightOf.get(l)!)!.get(b)!, (a, b) => -(logs.get(a)?.get(b) ?? 0));
  const picked = solveExact({ classes, capacity: limit }).choice.map((k, c) => classes[c][k]);
  return { weights: new Map(picked.flatMap((o) => o.weights)), activations: new Map(picked.flatMap((o) => o.activations)) };
}
