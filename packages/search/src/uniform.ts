import { fail } from '@bitloom/diagnostics';
import type { Bits } from '@bitloom/numerics';
import { z } from 'zod';
import { type BitChoice, type SearchProblem, type SearchStrategy, activationChoices, averageBits, weightChoices } from './contract.js';
import { choiceCost, showCost } from './cost.js';

/**
 * The same bits everywhere but for pins. With a budget: the pair that fits whose narrower side is widest, then the wider one, then the one with wider activations.
 * W4A1 costs as many BOPs as W2A2, and is far less accurate (ResNet-20, `node tools/allocation.mjs`).
 */
export const uniform: SearchStrategy<object> = {
  name: 'uniform',
  summary: 'the same bit-widths for every layer that is not pinned; with a budget, the widest that fit, neither side much narrower than the other',
  options: z.strictObject({}),
  async search(p) {
    const points = p.weightBits.flatMap((w) => p.activationBits.map((a) => ({ w, a, choice: uniformChoice(p, w, a) })))
      .sort((x, y) => Math.min(y.w, y.a) - Math.min(x.w, x.a) || y.w + y.a - (x.w + x.a) || y.a - x.a);
    const budget = p.budget;
    const cost = (c: BitChoice): number => (budget ? choiceCost(p, c) : 0);
    const best = points.find((q) => !budget || cost(q.choice) <= budget.limit);
    if (!best) {
      const least = Math.min(...points.map((q) => cost(q.choice)));
      fail('E501', 'no uniform bit-width meets the budget', {
        found: budget!.text, expected: `at least ${showCost(budget!.kind, least, p.layers)}`,
        remedy: 'raise the budget, allow fewer bits with --weights and --activations, or unpin the ends with --free-ends',
      });
    }
    return {
      strategy: 'uniform', choice: best.choice, objective: null, lowerBound: null, gap: null,
      pareto: points.map((q) => ({ cost: cost(q.choice), loss: NaN, ...averageBits(p, q.choice) })).reverse(),
    };
  },
};

function uniformChoice(p: SearchProblem, w: Bits, a: Bits): BitChoice {
  const activations = activationChoices(p);
  const nearest = (choices: readonly Bits[], b: Bits): Bits => (choices.length === 1 ? choices[0] : b);
  return {
    weights: new Map(p.layers.map((l) => [l.name, nearest(weightChoices(p, l), w)])),
    activations: new Map(p.groups.map((g) => [g.id, nearest(activations.get(g.id)!, a)])),
  };
}
