/**
 * The multiple-choice knapsack problem behind bit allocation: of every class (a layer, or layers that read the same) take
 * exactly one item (a scheme) so that `Σ loss` is least while `Σ cost ≤ capacity`.
 *
 * Dominance filter, greedy and its order by Δloss/Δcost: Chen et al., "Towards Mixed-Precision Quantization of Neural
 * Networks via Constrained Optimization", ICCV 2021 (arXiv 2110.06554), Proposition 1 and Algorithm 1. LP relaxation by
 * convex hulls: Sinha and Zoltners, Operations Research 27(3), 1979. Exact: dynamic programming over Pareto states with
 * reduced-cost fixing, in the spirit of Pisinger, EJOR 83(2), 1995, bounded by the LP relaxation of the classes to come.
 *
 * Ties are decided the same way on every run: items of equal loss by lower cost, then lower index; exact solutions whose
 * summed losses are equal by lower cost.
 */
import { fail } from '@bitloom/diagnostics';

export interface MckpItem {
  /** In budget units, say bits or BOPs: a whole number ≥ 0. */
  readonly cost: number;
  /** Predicted perturbation Ω; may be fractional or negative. */
  readonly loss: number;
}

export interface MckpProblem {
  readonly classes: readonly (readonly MckpItem[])[];
  /** Upper limit of the summed costs, in their unit; `Infinity` means no limit. */
  readonly capacity: number;
}

export interface MckpSolution {
  /** Item index by class. */
  readonly choice: readonly number[];
  /** Sums over the chosen items. */
  readonly cost: number;
  readonly loss: number;
  /** No choice within the capacity has a lower loss. The LP bound, or a tighter one where the exact solver hit its state limit. */
  readonly lowerBound: number;
  /** What is left unproven: 0 when `optimal`, else (loss − lowerBound) / |loss|. */
  readonly gap: number;
  /** Proven to have the least loss, to within floating-point rounding of the sums. */
  readonly optimal: boolean;
}

export interface ExactOptions {
  /**
   * Most Pareto states held after a class, at least 2, 65,536 by default; fewer where all classes together would take more
   * than some 2^25 state extensions (about two seconds). Where they do not suffice, the half with the worse bounds is
   * dropped and `lowerBound` tells what it could have reached. Memory: at most 8 bytes × maxStates × (classes + 7).
   */
  readonly maxStates?: number;
}

/** One edge of a class's hull: replace the item before it by `to`. `slope` = loss saved per unit of cost, > 0. */
interface Step {
  readonly cls: number;
  readonly to: number;
  readonly cost: number;
  readonly loss: number;
  readonly slope: number;
}

interface Prepared {
  readonly classes: readonly (readonly MckpItem[])[];
  /** Non-dominated items by class, ascending cost. */
  readonly kept: readonly (readonly number[])[];
  /** Hull steps of all classes in the order the LP relaxation takes them. */
  readonly steps: readonly Step[];
  readonly minCost: number;
  /** Cost of the cheapest choice with the least loss: more capacity is of no use. */
  readonly maxCost: number;
  /** Every total cost is minCost plus a multiple of this; 0 when there is but one. */
  readonly unit: number;
}

/** The LP relaxation: whole steps up to `taken`, a part of `steps[taken]`. */
interface Relaxation {
  readonly base: readonly number[];
  readonly taken: number;
  /** Capacity the whole steps leave over. */
  readonly slack: number;
  /** Loss saved per unit of capacity at the margin, λ. 0 when every class has its least loss. */
  readonly lambda: number;
  readonly bound: number;
}

/** Default of {@link ExactOptions.maxStates}. */
const MAX_STATES = 1 << 16;
/** State extensions (state × item) aimed at per problem. */
const MAX_WORK = 1 << 25;
/** Sums of losses closer than this, relative to the summed magnitudes, count as equal. */
const ROUNDING = 2 ** -46;

const slopeOf = (a: MckpItem, b: MckpItem): number => (a.loss - b.loss) / (b.cost - a.cost);

function check(items: readonly MckpItem[]): void {
  items.forEach(({ cost, loss }, i) => {
    if (Number.isSafeInteger(cost) && cost >= 0 && Number.isFinite(loss)) return;
    fail('E901', 'knapsack item has a cost that is not a whole number, or a loss that is not finite', {
      found: `item ${i}: cost ${cost}, loss ${loss}`,
      expected: 'whole cost from 0 to 2^53 − 1, finite loss',
    });
  });
}

/**
 * Indices of the items that no other beats in both cost and loss (Proposition 1), ascending cost and descending loss; of
 * equal items the first. An optimum over all items has the loss of an optimum over these. E901 for costs that are not
 * whole or losses that are not finite.
 */
export function dominanceFilter(items: readonly MckpItem[]): number[] {
  check(items);
  const order = items.map((_, i) => i);
  order.sort((a, b) => items[a].cost - items[b].cost || items[a].loss - items[b].loss || a - b);
  let least = Infinity;
  return order.filter((i) => {
    const keep = items[i].loss < least;
    if (keep) least = items[i].loss;
    return keep;
  });
}

/**
 * Indices of the vertices of the lower convex hull of the non-dominated (cost, loss) points, ascending cost: the items an
 * LP solution can use. Points inside an edge are left out. E901 as {@link dominanceFilter}.
 */
export function convexHull(items: readonly MckpItem[]): number[] {
  return hullOf(items, dominanceFilter(items));
}

/** `sorted`: indices in order of rising cost and falling loss. */
function hullOf(items: readonly MckpItem[], sorted: readonly number[]): number[] {
  const hull: number[] = [];
  for (const i of sorted) {
    while (hull.length > 1) {
      const [a, b] = hull.slice(-2);
      if (slopeOf(items[a], items[b]) > slopeOf(items[b], items[i])) break;
      hull.pop();
    }
    hull.push(i);
  }
  return hull;
}

function hullSteps(items: readonly MckpItem[], sorted: readonly number[], cls: number): Step[] {
  const hull = hullOf(items, sorted);
  return hull.slice(1).map((to, n) => {
    const [a, b] = [items[hull[n]], items[to]];
    return { cls, to, cost: b.cost - a.cost, loss: b.loss - a.loss, slope: slopeOf(a, b) };
  });
}

const gcd = (a: number, b: number): number => (b === 0 ? a : gcd(b, a % b));

/** Steepest first. Within a class slopes fall strictly, so this keeps each class's steps in order. */
const bySlope = (a: Step, b: Step): number => b.slope - a.slope || a.cost - b.cost || a.cls - b.cls;

function prepare(classes: MckpProblem['classes']): Prepared {
  const kept = classes.map((items, c) => {
    if (items.length === 0) {
      fail('E501', 'a class of the knapsack has no items', { found: `class ${c} is empty`, expected: 'at least one item' });
    }
    return dominanceFilter(items);
  });
  const sum = (pick: (items: readonly MckpItem[], kept: readonly number[]) => number): number =>
    classes.reduce((total, items, c) => total + pick(items, kept[c]), 0);
  const magnitude = sum((items) => items.reduce((m, i) => Math.max(m, i.cost), 0));
  const losses = sum((items) => items.reduce((m, i) => Math.max(m, Math.abs(i.loss)), 0));
  if (magnitude > Number.MAX_SAFE_INTEGER || !Number.isFinite(2 * losses)) {
    fail('E901', 'knapsack sums leave the range of exact arithmetic', {
      found: `costs up to ${magnitude}, losses up to ${losses}`,
      expected: 'summed costs below 2^53 and finite summed losses',
      remedy: 'use a coarser unit',
    });
  }
  return {
    classes,
    kept,
    steps: classes.flatMap((items, c) => hullSteps(items, kept[c], c)).sort(bySlope),
    minCost: sum((items, k) => items[k[0]].cost),
    maxCost: sum((items, k) => items[k[k.length - 1]].cost),
    unit: classes.reduce((unit, items, c) => kept[c].reduce((u, i) => gcd(items[i].cost - items[kept[c][0]].cost, u), unit), 0),
  };
}

/** Solves the LP relaxation: hull steps by slope until one does not fit. E501 when the cheapest choice does not fit. */
function relax(p: Prepared, limit: number): Relaxation {
  if (Number.isNaN(limit)) fail('E901', 'knapsack capacity is not a number');
  if (limit < p.minCost) {
    fail('E501', 'budget is infeasible: even the cheapest choice everywhere exceeds it', {
      found: `budget ${limit}`,
      expected: `at least ${p.minCost}`,
      remedy: `raise the budget to ${p.minCost}, or allow cheaper candidates`,
    });
  }
  const base = p.kept.map((k) => k[0]);
  let slack = Math.min(Math.floor(limit), p.maxCost) - p.minCost;
  if (p.unit > 0) slack -= slack % p.unit; // tightens the bound: no total lies between
  let taken = 0;
  for (; taken < p.steps.length && p.steps[taken].cost <= slack; taken++) {
    slack -= p.steps[taken].cost;
    base[p.steps[taken].cls] = p.steps[taken].to;
  }
  const lambda = taken < p.steps.length ? p.steps[taken].slope : 0;
  return { base, taken, slack, lambda, bound: totals(p, base).loss - lambda * slack };
}

function totals(p: Prepared, choice: readonly number[]): { cost: number; loss: number } {
  let [cost, loss] = [0, 0];
  choice.forEach((i, c) => {
    cost += p.classes[c][i].cost;
    loss += p.classes[c][i].loss;
  });
  return { cost, loss };
}

function solution(p: Prepared, choice: readonly number[], bound: number, proven: boolean): MckpSolution {
  const { cost, loss } = totals(p, choice);
  const lowerBound = Math.min(bound, loss);
  const magnitude = choice.reduce((m, i, c) => m + Math.abs(p.classes[c][i].loss), 0);
  const optimal = proven || loss - lowerBound <= ROUNDING * magnitude;
  return { choice, cost, loss, lowerBound, gap: optimal ? 0 : (loss - lowerBound) / Math.max(Math.abs(loss), 1e-300), optimal };
}

/** The summed cost of the cheapest item of every class. E501 for an empty class. */
export function smallestFeasible(problem: MckpProblem): number {
  return prepare(problem.classes).minCost;
}

/** Least loss of the LP relaxation (items may be mixed within a class). E501 when infeasible or a class is empty. */
export function lpLowerBound(problem: MckpProblem): number {
  return relax(prepare(problem.classes), problem.capacity).bound;
}

function greedyChoice(p: Prepared, lp: Relaxation): number[] {
  const choice = [...lp.base];
  const retired = new Set<number>();
  let { slack } = lp;
  for (const step of p.steps.slice(lp.taken)) {
    if (retired.has(step.cls)) continue;
    if (step.cost > slack) {
      retired.add(step.cls);
      continue;
    }
    slack -= step.cost;
    choice[step.cls] = step.to;
  }
  // Single swaps for the largest saving that fits. Among non-dominated items a lower loss costs more, so slack only falls.
  for (;;) {
    let best: { cls: number; item: number; save: number; cost: number } | undefined;
    for (const [cls, kept] of p.kept.entries()) {
      const from = p.classes[cls][choice[cls]];
      for (const item of kept) {
        const to = p.classes[cls][item];
        const [save, cost] = [from.loss - to.loss, to.cost - from.cost];
        if (cost > slack) break;
        if (save > 0 && (!best || save > best.save || (save === best.save && cost < best.cost))) best = { cls, item, save, cost };
      }
    }
    if (!best) return choice;
    choice[best.cls] = best.item;
    slack -= best.cost;
  }
}

/**
 * The paper's greedy: every class starts at its cheapest item and the hull step with the largest Δloss/Δcost is taken.
 * A class whose step does not fit is retired and the others go on; then single swaps, items off the hull included, use
 * what capacity is left. `lowerBound` is the LP bound. E501 when infeasible (names the smallest feasible cost) or a class
 * is empty, E901 for non-finite numbers.
 */
export function solveGreedy(problem: MckpProblem): MckpSolution {
  const p = prepare(problem.classes);
  const lp = relax(p, problem.capacity);
  return solution(p, greedyChoice(p, lp), lp.bound, false);
}

/** A class that reduced-cost fixing left open; costs and losses are relative to the class's item in the LP solution. */
interface Open {
  readonly cls: number;
  readonly items: readonly number[];
  readonly rel: readonly MckpItem[];
  /** loss + λ·cost, rounded down: how far above the LP bound a solution with this item is at least. */
  readonly reduced: readonly number[];
}

/**
 * A choice of least loss (the default solver). After each class the non-dominated (cost, loss) sums are kept whose LP
 * completion by the classes to come beats the best choice known, at first the greedy's; each state's whole-step completion
 * is itself such a choice. `lowerBound` is the root LP bound, also when `optimal`: loss − lowerBound is then the
 * integrality gap. Where `maxStates` is exceeded, the result may be `optimal: false`, with a true `lowerBound`; the loss
 * is never above the greedy's. E501 when infeasible (names the smallest feasible cost) or a class is empty, E901 for
 * non-finite numbers.
 */
export function solveExact(problem: MckpProblem, options: ExactOptions = {}): MckpSolution {
  const p = prepare(problem.classes);
  return exact(p, problem.capacity, Math.max(2, Math.floor(options.maxStates ?? MAX_STATES)));
}

function exact(p: Prepared, limit: number, stateLimit: number): MckpSolution {
  const lp = relax(p, limit);
  const greedy = greedyChoice(p, lp);
  const relative = (c: number, i: number): MckpItem => {
    const [item, base] = [p.classes[c][i], p.classes[c][lp.base[c]]];
    return { cost: item.cost - base.cost, loss: item.loss - base.loss };
  };
  // From here on losses are relative to the LP solution's whole part: small numbers, so little is lost to rounding.
  let best = greedy;
  let bestLoss = greedy.reduce((sum, i, c) => sum + relative(c, i).loss, 0);
  let bestCost = greedy.reduce((sum, i, c) => sum + relative(c, i).cost, 0);
  const rootBound = -lp.lambda * lp.slack;

  // Any choice has loss rootBound + Σ reduced + λ·(unused capacity), so an item with reduced > the gap is of no use.
  const lossOf = (c: number, i: number): number => Math.abs(p.classes[c][i].loss);
  let magnitude = greedy.reduce((sum, i, c) => sum + lossOf(c, i) + lossOf(c, lp.base[c]), 0);
  const rootGap = bestLoss - rootBound + ROUNDING * magnitude;
  const open: Open[] = [];
  p.kept.forEach((kept, cls) => {
    const reducedOf = (i: number): number => {
      const { cost, loss } = relative(cls, i);
      return loss + lp.lambda * cost - ROUNDING * (lossOf(cls, i) + lossOf(cls, lp.base[cls]) + lp.lambda * Math.abs(cost));
    };
    const items = kept.filter((i) => reducedOf(i) <= rootGap);
    if (items.length === 1) return;
    magnitude += items.reduce((m, i) => Math.max(m, lossOf(cls, i)), 0);
    open.push({ cls, items, rel: items.map((i) => relative(cls, i)), reduced: items.map(reducedOf) });
  });
  const tolerance = ROUNDING * magnitude;
  if (bestLoss - rootBound <= tolerance) return solution(p, best, lp.bound, true);
  const span = (o: Open): number => o.rel[o.rel.length - 1].cost - o.rel[0].cost;
  open.sort((a, b) => span(b) - span(a) || a.cls - b.cls);

  // Hull steps up to the LP solution (`below`), and beyond it; `cls` counts in `open`, `to` in its items.
  const steps = (side: (item: MckpItem) => boolean): Step[] =>
    open.flatMap(({ rel }, n) => hullSteps(rel, rel.map((_, i) => i).filter((i) => side(rel[i])), n)).sort(bySlope);
  const below = steps((i) => i.cost <= 0);
  const above = steps((i) => i.cost >= 0);

  const maxStates = Math.min(stateLimit, 1 + open.reduce((all, o) => all * o.items.length, 1));
  let count = 1;
  let cost = new Float64Array(maxStates);
  let loss = new Float64Array(maxStates);
  let nextCost = new Float64Array(maxStates);
  let nextLoss = new Float64Array(maxStates);
  const bound = new Float64Array(maxStates);
  const parent = new Int32Array(maxStates);
  const item = new Int32Array(maxStates);
  const parents: Int32Array[] = [];
  const picks: Int32Array[] = [];
  let dropped = Infinity;
  let work = MAX_WORK;

  for (const [n, o] of open.entries()) {
    if (bestLoss - rootBound <= tolerance) break; // optimal, and equal ones spend the whole capacity too
    // LP relaxation of the classes after this one, as prefix sums over their steps, zero at the root LP solution.
    const lower = below.filter((s) => s.cls > n);
    const suffix = [...lower, ...above.filter((s) => s.cls > n)];
    const sumCost = new Float64Array(suffix.length + 1);
    const sumLoss = new Float64Array(suffix.length + 1);
    for (let j = lower.length; j-- > 0; ) {
      sumCost[j] = sumCost[j + 1] - suffix[j].cost;
      sumLoss[j] = sumLoss[j + 1] - suffix[j].loss;
    }
    for (let j = lower.length; j < suffix.length; j++) {
      sumCost[j + 1] = sumCost[j] + suffix[j].cost;
      sumLoss[j + 1] = sumLoss[j] + suffix[j].loss;
    }

    const record = (from: number, pick: number, whole: number): void => {
      best = [...lp.base];
      best[o.cls] = o.items[pick];
      for (let m = n - 1, at = from; m >= 0; at = parents[m][at], m--) best[open[m].cls] = open[m].items[picks[m][at]];
      for (let m = n + 1; m < open.length; m++) best[open[m].cls] = open[m].items[0];
      for (const s of suffix.slice(0, whole)) best[open[s.cls].cls] = open[s.cls].items[s.to];
    };

    // Every item shifts the sorted states; a heap of one cursor per item merges them by (cost, loss, item).
    const live = o.items.map((_, i) => i).filter((i) => o.reduced[i] <= bestLoss - rootBound + tolerance);
    const cursor = new Int32Array(o.items.length);
    const heapCost = new Float64Array(o.items.length);
    const heapLoss = new Float64Array(o.items.length);
    const heap = Int32Array.from(live);
    let size = heap.length;
    const load = (i: number): void => {
      heapCost[i] = cost[cursor[i]] + o.rel[i].cost;
      heapLoss[i] = loss[cursor[i]] + o.rel[i].loss;
    };
    const before = (a: number, b: number): boolean =>
      heapCost[a] !== heapCost[b] ? heapCost[a] < heapCost[b] : heapLoss[a] !== heapLoss[b] ? heapLoss[a] < heapLoss[b] : a < b;
    const sift = (root: number): void => {
      const moved = heap[root];
      for (let at = root; ; ) {
        let child = 2 * at + 1;
        if (child + 1 < size && before(heap[child + 1], heap[child])) child++;
        if (child >= size || !before(heap[child], moved)) {
          heap[at] = moved;
          return;
        }
        heap[at] = heap[child];
        at = child;
      }
    };
    live.forEach(load);
    for (let i = size >> 1; i-- > 0; ) sift(i);

    const ahead = open.slice(n + 1).reduce((sum, { items }) => sum + items.length, 0);
    const room = ahead === 0 ? maxStates : Math.max(2, Math.min(maxStates, Math.floor(work / ahead)));
    let made = 0;
    let leastLoss = Infinity;
    let cutoff = Infinity;
    let whole = suffix.length;
    while (size > 0) {
      const pick = heap[0];
      const from = cursor[pick];
      work--;
      const [c, l] = [heapCost[pick], heapLoss[pick]];
      if (++cursor[pick] < count) load(pick);
      else heap[0] = heap[--size];
      if (size > 0) sift(0);
      if (l >= leastLoss) continue;
      const rest = lp.slack - c;
      while (whole >= 0 && sumCost[whole] > rest) whole--;
      if (whole < 0) break; // costs only rise
      leastLoss = l;
      const reached = l + sumLoss[whole];
      const spent = c + sumCost[whole];
      if (reached < bestLoss || (reached === bestLoss && spent < bestCost)) {
        [bestLoss, bestCost] = [reached, spent];
        record(from, pick, whole);
      }
      const bounded = whole < suffix.length ? reached - (rest - sumCost[whole]) * suffix[whole].slope : reached;
      if (bounded > bestLoss + tolerance || bounded > cutoff) continue;
      nextCost[made] = c;
      nextLoss[made] = l;
      bound[made] = bounded;
      parent[made] = from;
      item[made] = pick;
      if (++made < room) continue;
      // Full: keep the states below the median bound and every other one at it; from now on take none above it.
      cutoff = bound.slice(0, made).sort()[room >> 1];
      dropped = Math.min(dropped, cutoff);
      made = 0;
      for (let i = 0, ties = 0; i < room; i++) {
        if (bound[i] > cutoff || (bound[i] === cutoff && ties++ % 2 === 0)) continue;
        nextCost[made] = nextCost[i];
        nextLoss[made] = nextLoss[i];
        bound[made] = bound[i];
        parent[made] = parent[i];
        item[made] = item[i];
        made++;
      }
    }
    parents.push(parent.slice(0, made));
    picks.push(item.slice(0, made));
    [cost, nextCost, loss, nextLoss] = [nextCost, cost, nextLoss, loss];
    count = made;
    if (count === 0) break;
  }
  if (totals(p, best).loss > totals(p, greedy).loss) best = greedy; // equal up to rounding
  const reach = Math.min(dropped, bestLoss);
  return dropped >= bestLoss - tolerance
    ? solution(p, best, lp.bound, true)
    : solution(p, best, Math.max(lp.bound, totals(p, lp.base).loss + reach), false);
}

/**
 * Exact solutions for `points` capacities, evenly spaced from the cheapest choice to the cheapest one of least loss:
 * ascending cost, descending loss, each once. E501 for an empty class, E901 for non-finite numbers.
 */
export function paretoFront(problem: MckpProblem, points = 33): MckpSolution[] {
  const p = prepare(problem.classes);
  const front: MckpSolution[] = [];
  for (let n = 0; n < Math.max(2, points); n++) {
    const capacity = p.minCost + Math.floor(((p.maxCost - p.minCost) * n) / (Math.max(2, points) - 1));
    const s = exact(p, capacity, MAX_STATES);
    if (front.length === 0 || s.loss < front[front.length - 1].loss) front.push(s);
  }
  return front;
}
