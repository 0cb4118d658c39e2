/** MPQCO (ICCV 2021, arXiv 2110.06554): second-order sensitivities, bits as a multiple-choice knapsack. */
import { fail } from '@bitloom/diagnostics';
import type { ValueId } from '@bitloom/ir';
import type { Bits } from '@bitloom/numerics';
import {
  type BitChoice, type Budget, type SearchProblem, type SearchStrategy, activationChoices, averageBits, fixedCost, layerCost, measureSensitivities, showCost, weightChoices,
} from '@bitloom/search';
import { z } from 'zod';
import { type MckpItem, dominanceFilter, paretoFront, solveExact, solveGreedy } from './solver.js';

/** A partial choice with its cost and loss. */
export interface Option extends MckpItem {
  readonly weights: readonly (readonly [string, Bits])[];
  readonly activations: readonly (readonly [ValueId, Bits])[];
}

/** Options that no other beats in both cost and loss, by ascending cost. */
const undominated = (options: readonly Option[]): Option[] => dominanceFilter(options).map((i) => options[i]);

const combine = (xs: readonly Option[], ys: readonly Option[]): Option[] =>
  undominated(xs.flatMap((x) => ys.map((y) => ({ cost: x.cost + y.cost, loss: x.loss + y.loss, weights: [...x.weights, ...y.weights],
    activations: [...x.activations, ...y.activations] }))));

export const mckpOptions = z.strictObject({
  labels: z.enum(['model', 'data']).default('model').describe('loss that sensitivities are of: the model\'s own predictions, or the labels of the data'),
  solver: z.enum(['exact', 'greedy']).default('exact').describe('exact, or the greedy pass of the paper'),
});

export const mckp: SearchStrategy<z.infer<typeof mckpOptions>> = {
  name: 'mckp',
  summary: 'Hessian-based sensitivities (MPQCO), bits by a multiple-choice knapsack solved exactly',
  options: mckpOptions,
  async search(p, options) {
    assertFeasible(p);
    const omega = await measureSensitivities({ ...p, labels: options.labels });
    const classes = knapsack(p, (l, b) => omega.weights.get(l)!.get(b)!, (a, b) => omega.activations.get(a)!.get(b)!);
    const problem = { classes, capacity: p.budget?.limit ?? classes.reduce((s, c) => s + c[c.length - 1].cost, 0) };
    const s = (options.solver === 'greedy' ? solveGreedy : solveExact)(problem);
    const choiceOf = (picked: readonly number[]): BitChoice => {
      const options = classes.map((c, i) => c[picked[i]]);
      return { weights: new Map(options.flatMap((o) => o.weights)), activations: new Map(options.flatMap((o) => o.activations)) };
    };
    return {
      strategy: 'mckp',
      choice: choiceOf(s.choice),
      objective: s.loss,
      lowerBound: s.lowerBound,
      gap: s.gap,
      pareto: paretoFront(problem).map((q) => ({ cost: q.cost, loss: q.loss, ...averageBits(p, choiceOf(q.choice)) })),
    };
  },
};

/** Costs are known before anything is measured or trained, so that a budget that cannot be met is refused at once. @throws E501 */
export function assertFeasible(p: SearchProblem): void {
  const least = knapsack(p, () => 0, () => 0).reduce((sum, c) => sum + c[0].cost, 0);
  if (p.budget && least > p.budget.limit) {
    fail('E501', 'no assignment meets the budget', {
      found: p.budget.text, expected: `at least ${showCost(p.budget.kind, least, p.layers)}`,
      remedy: 'raise the budget, allow fewer bits with --weights and --activations, or unpin the ends with --free-ends',
    });
  }
}

/** Steps of the W8A8 latency: fewer distinct sums keep the Pareto sets of classes small. Costs are rounded up, so that the budget holds. */
const LATENCY_STEPS = 2 ** 14;

/** Granule of the costs, the same whatever the limit. */
function costUnit(p: SearchProblem, budget: Pick<Budget, 'kind' | 'latency'>): number {
  if (budget.kind !== 'latency') return 1;
  return Math.max(1, Math.floor(p.layers.reduce((s, l) => s + layerCost(p.graph, budget, l, 8, 8), fixedCost(budget)) / LATENCY_STEPS));
}

/**
 * Classes of the knapsack. Where the cost of a layer depends on its weight bits alone (size, bits), weights and activation groups are
 * classes of their own; under BOPs and latency a group with a choice of bits and the layers that read it are one class, reduced to its
 * Pareto set.
 */
export function knapsack(
  p: SearchProblem, weightLoss: (layer: string, b: Bits) => number, activationLoss: (group: ValueId, b: Bits) => number,
): Option[][] {
  const budget: Pick<Budget, 'kind' | 'latency'> = p.budget ?? { kind: 'bits', latency: null };
  const unit = costUnit(p, budget);
  const whole = (cost: number): number => Math.ceil(cost / unit) * unit;
  const choices = activationChoices(p);
  const layerOptions = (l: SearchProblem['layers'][number], a: number): Option[] =>
    undominated(weightChoices(p, l).map((w) => ({ cost: whole(layerCost(p.graph, budget, l, w, a)), loss: weightLoss(l.name, w),
      weights: [[l.name, w] as const], activations: [] })));
  const groupOption = (id: ValueId, a: Bits): Option => ({ cost: 0, loss: activationLoss(id, a), weights: [], activations: [[id, a]] });
  if (budget.kind === 'size' || budget.kind === 'bits') {
    return [
      ...p.layers.map((l) => layerOptions(l, 0)),
      ...[...choices].map(([id, bits]) => undominated(bits.map((a) => groupOption(id, a)))),
    ];
  }
  const quantized = new Set(p.groups.flatMap((g) => g.layers.map((l) => l.name)));
  return [
    ...(budget.latency ? [[{ cost: whole(fixedCost(budget)), loss: 0, weights: [], activations: [] }]] : []),
    ...p.groups.flatMap(({ id, layers }) => {
      const bits = choices.get(id)!;
      // Without a choice of activation bits the layers are independent.
      return bits.length === 1
        ? [[groupOption(id, bits[0])], ...layers.map((l) => layerOptions(l, bits[0]))]
        : [undominated(bits.flatMap((a) => layers.reduce((acc, l) => combine(acc, layerOptions(l, a)), [groupOption(id, a)])))];
    }),
    ...p.layers.filter((l) => !quantized.has(l.name)).map((l) => layerOptions(l, 32)),
  ];
}
