/** Allocations drawn at random: what every other strategy has to beat. */
import { fail } from '@bitloom/diagnostics';
import type { ValueId } from '@bitloom/ir';
import type { Bits } from '@bitloom/numerics';
import { Rng } from '@bitloom/tensor';
import { z } from 'zod';
import { type BitChoice, type SearchProblem, type SearchStrategy, activationChoices, averageBits, weightChoices } from './contract.js';
import { type Budget, fixedCost, layerCost, showCost } from './cost.js';

/** Share of the limit that is to be used. */
const USED = 0.95;
/** Draws, and steps from each, until one is in the range; else the best of them is taken. */
const DRAWS = 32;
const STEPS = 100;
/** Steps aside where none leads up. */
const AWAY = 3;

/** An assignment as positions in what each site may take: weights of the layers, then activation groups. */
type Steps = readonly number[];

interface Space {
  /** Bits that each site may take, ascending. */
  readonly choices: readonly (readonly Bits[])[];
  readonly cheapest: Steps;
  cost(s: Steps): number;
  choice(s: Steps): BitChoice;
}

/**
 * Bits drawn for each layer and activation, then changed one step at a time, at random, until the cost is within the limit and uses {@link USED} of it.
 */
export const random: SearchStrategy<object> = {
  name: 'random',
  summary: 'bit-widths drawn at random that use the budget: a baseline',
  options: z.strictObject({}),
  async search(p) {
    const budget = p.budget ?? fail('E103', 'strategy random needs a budget', { remedy: 'add --budget, for example --budget bits=4' });
    const space = spaceOf(p, budget);
    const rng = new Rng(p.seed);
    let best: Steps = space.cheapest;
    if (space.cost(best) > budget.limit) {
      fail('E501', 'no assignment meets the budget', {
        found: budget.text, expected: `at least ${showCost(budget.kind, space.cost(best), p.layers)}`,
        remedy: 'raise the budget, allow fewer bits with --weights and --activations, or unpin the ends with --free-ends',
      });
    }
    for (let draw = 0; draw < DRAWS && space.cost(best) < USED * budget.limit; draw++) {
      const found = walk(space.choices.map((c) => rng.int(c.length)), space, rng, budget.limit);
      if (space.cost(found) > space.cost(best)) best = found;
    }
    const choice = space.choice(best);
    return { strategy: 'random', choice, objective: null, lowerBound: null, gap: null, pareto: [{ cost: space.cost(best), loss: NaN, ...averageBits(p, choice) }] };
  },
};

/**
 * Moves `at` into the range: down while above the limit, up while below the range, aside where nothing leads up. Costs that more bits do not always
 * raise, such as times, are why moves are chosen by what they do to the cost.
 */
function walk(at: number[], { choices, cheapest, cost }: Space, rng: Rng, limit: number): Steps {
  /** One random step to a cost that is accepted; false where there is none. */
  const move = (accepts: (next: number) => boolean): boolean => {
    const moves = choices.flatMap((c, i) => [-1, 1].flatMap((d) => (c[at[i] + d] === undefined ? [] : [[i, d] as const])));
    for (const m of rng.permutation(moves.length)) {
      const [i, d] = moves[m];
      at[i] += d;
      if (accepts(cost(at))) return true;
      at[i] -= d;
    }
    return false;
  };
  for (let now = cost(at); now > limit; now = cost(at)) {
    if (move((next) => next < now)) continue;
    const others = at.flatMap((step, i) => (step === cheapest[i] ? [] : [i]));
    const i = others[rng.int(others.length)];
    at[i] = cheapest[i];
  }
  let best = [...at];
  for (let n = 0; n < STEPS && cost(best) < USED * limit; n++) {
    const now = cost(at);
    if (!move((next) => next > now && next <= limit)) for (let k = 0; k < AWAY; k++) move((next) => next <= limit);
    if (cost(at) > cost(best)) best = [...at];
  }
  return best;
}

function spaceOf(p: SearchProblem, budget: Budget): Space {
  const weights = p.layers.map((l) => weightChoices(p, l));
  const byGroup = activationChoices(p);
  const activations = p.groups.map((a) => byGroup.get(a.id)!);
  const groupOf = new Map(p.groups.flatMap((a, k) => a.values.map((v) => [v, k] as const)));
  // Costs of a layer by its weights and by what it reads; floats are one choice.
  const layers = p.layers.map((l, i) => {
    const group = groupOf.get(l.input) ?? null;
    const read: readonly number[] = group === null ? [32] : activations[group];
    return { group, costs: weights[i].map((w) => read.map((a) => layerCost(p.graph, budget, l, w, a))) };
  });
  const fixed = fixedCost(budget);
  const least = (values: readonly number[]): number => values.indexOf(Math.min(...values));
  // Layers share nothing but what they read, so the best bits of an activation follow from those of its layers.
  const read = activations.map((bits, k) => least(bits.map((_, a) => layers.filter((l) => l.group === k).reduce((sum, l) => sum + Math.min(...l.costs.map((c) => c[a])), 0))));
  return {
    choices: [...weights, ...activations],
    cheapest: [...layers.map((l) => least(l.costs.map((c) => c[l.group === null ? 0 : read[l.group]]))), ...read],
    cost: (s) => layers.reduce((sum, l, i) => sum + l.costs[s[i]][l.group === null ? 0 : s[layers.length + l.group]], fixed),
    choice: (s) => ({
      weights: new Map(p.layers.map((l, i) => [l.name, weights[i][s[i]]])),
      activations: new Map<ValueId, Bits>(p.groups.map((a, k) => [a.id, activations[k][s[layers.length + k]]])),
    }),
  };
}
