import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { BitloomError, type Diagnostic } from '@bitloom/diagnostics';
import { Rng } from '@bitloom/tensor';
import {
  convexHull, dominanceFilter, lpLowerBound, paretoFront, smallestFeasible, solveExact, solveGreedy,
  type MckpItem, type MckpProblem, type MckpSolution,
} from './solver.js';

const items = (...pairs: [cost: number, loss: number][]): MckpItem[] => pairs.map(([cost, loss]) => ({ cost, loss }));

/** Every combination; among equal losses the lowest cost. */
function bruteForce({ classes, capacity }: MckpProblem): { cost: number; loss: number } | undefined {
  let sums = [{ cost: 0, loss: 0 }];
  for (const c of classes) sums = sums.flatMap((s) => c.map((i) => ({ cost: s.cost + i.cost, loss: s.loss + i.loss })));
  return sums.filter((s) => s.cost <= capacity).sort((a, b) => a.loss - b.loss || a.cost - b.cost)[0];
}

/** Least loss for every capacity 0…top by the textbook table over integer costs ≥ 0, no filter and no bounds. */
function table(classes: MckpProblem['classes'], top: number): Float64Array {
  let best = new Float64Array(top + 1);
  for (const c of classes) {
    const next = new Float64Array(top + 1).fill(Infinity);
    for (const { cost, loss } of c) for (let w = cost; w <= top; w++) next[w] = Math.min(next[w], best[w - cost] + loss);
    best = next;
  }
  return best;
}

/** The LP optimum by duality: max over λ ≥ 0 of Σ min(loss + λ·cost) − λ·capacity, whose breaks are slopes between items. */
function dualBound({ classes, capacity }: MckpProblem): number {
  const slopes = classes.flatMap((c) => c.flatMap((a) => c.map((b) => (a.cost < b.cost ? (a.loss - b.loss) / (b.cost - a.cost) : 0))));
  const at = (l: number): number => classes.reduce((sum, c) => sum + Math.min(...c.map((i) => i.loss + l * i.cost)), -l * capacity);
  return Math.max(at(0), ...slopes.filter((s) => s > 0).map(at));
}

function expectConsistent(problem: MckpProblem, s: MckpSolution): void {
  const chosen = problem.classes.map((c, n) => c[s.choice[n]]);
  expect(s.choice).toHaveLength(problem.classes.length);
  expect(s.cost).toBe(chosen.reduce((sum, i) => sum + i.cost, 0));
  expect(s.loss).toBe(chosen.reduce((sum, i) => sum + i.loss, 0));
  expect(s.cost).toBeLessThanOrEqual(problem.capacity);
  expect(s.lowerBound).toBeLessThanOrEqual(s.loss);
  expect(s.gap).toBe(s.optimal ? 0 : (s.loss - s.lowerBound) / Math.abs(s.loss));
}

function diagnosticOf(run: () => unknown): Diagnostic {
  try {
    run();
  } catch (error) {
    if (error instanceof BitloomError) return error.diagnostic;
    throw error;
  }
  throw new Error('no error');
}

const closeTo = (actual: number, expected: number, scale = 1): void =>
  expect(Math.abs(actual - expected)).toBeLessThanOrEqual(1e-11 * (scale + Math.abs(expected)));

/** Few distinct small values, so that ties, zero costs, equal losses and dominated items abound. */
const whole = fc.record({ cost: fc.integer({ min: 0, max: 12 }), loss: fc.integer({ min: -3, max: 12 }) });
const real = fc.record({ cost: fc.integer({ min: 0, max: 2 ** 50 }), loss: fc.double({ min: -1, max: 1e3, noNaN: true }) });
const coarse = fc.record({ cost: fc.integer({ min: 0, max: 9 }), loss: fc.integer({ min: 0, max: 3 }) });
/** Losses over 16 decades, as at 1 to 8 bits. */
const wide = fc.record({ cost: fc.integer({ min: 0, max: 1000 }), loss: fc.double({ min: -8, max: 8, noNaN: true }).map((e) => 10 ** e) });
const problems = (item: fc.Arbitrary<MckpItem>): fc.Arbitrary<MckpProblem> =>
  fc
    .record({
      classes: fc.array(fc.array(item, { minLength: 1, maxLength: 5 }), { minLength: 1, maxLength: 6 }),
      at: fc.double({ min: 0, max: 1, noNaN: true }),
    })
    .map(({ classes, at }) => {
      const sum = (pick: (...n: number[]) => number): number => classes.reduce((s, c) => s + pick(...c.map((i) => i.cost)), 0);
      return { classes, capacity: sum(Math.min) + Math.floor(at * (sum(Math.max) - sum(Math.min))) };
    });

type Draw = (uniform: () => number, cls: number, n: number) => MckpItem;

function random(seed: number, classes: number, size: number, item: Draw): MckpItem[][] {
  const rng = new Rng(seed);
  const uniform = (): number => rng.u32() / 2 ** 32;
  return Array.from({ length: classes }, (_, c) => Array.from({ length: size }, (_, n) => item(uniform, c, n)));
}

describe('exact solver', () => {
  it.each([whole, coarse])('equals brute force, cost included, on whole losses with many ties (%#)', (item) => {
    fc.assert(
      fc.property(problems(item), (problem) => {
        const s = solveExact(problem);
        expectConsistent(problem, s);
        expect(s.optimal).toBe(true);
        expect({ cost: s.cost, loss: s.loss }).toEqual(bruteForce(problem));
      }),
      { seed: 1, numRuns: 600 },
    );
  });

  it('equals brute force on real losses and costs up to 2^50', () => {
    fc.assert(
      fc.property(problems(real), (problem) => {
        const s = solveExact(problem);
        expectConsistent(problem, s);
        expect(s.optimal).toBe(true);
        closeTo(s.loss, bruteForce(problem)?.loss ?? NaN);
      }),
      { seed: 2, numRuns: 400 },
    );
  });

  it('keeps its precision where losses span 16 decades', () => {
    fc.assert(
      fc.property(problems(wide), (problem) => {
        const s = solveExact(problem);
        expect(s.optimal).toBe(true);
        const least = bruteForce(problem)?.loss ?? NaN;
        expect(Math.abs(s.loss - least)).toBeLessThanOrEqual(1e-12 * least);
      }),
      { seed: 8, numRuns: 300 },
    );
  });

  it.each([1, 2, 3])('equals the dense table on 60 classes × 16 unfiltered items (seed %i)', (seed) => {
    const classes = random(seed, 60, 16, (u) => ({ cost: Math.floor(u() * 60), loss: Math.floor(u() * 1000) }));
    const best = table(classes, 1500);
    const least = smallestFeasible({ classes, capacity: 0 });
    for (const capacity of [0, 1, 20, 100, 300, 600, 900].map((more) => least + more)) {
      const s = solveExact({ classes, capacity });
      expectConsistent({ classes, capacity }, s);
      expect(s.optimal).toBe(true);
      expect(s.loss).toBe(best[capacity]);
    }
  });

  it('equals the dense table where the relaxation says nothing: loss = constant − cost', () => {
    const classes = random(4, 12, 5, (u) => {
      const cost = 6 * Math.floor(u() * 50);
      return { cost, loss: 1000 - cost };
    });
    const best = table(classes, 1800);
    for (let capacity = smallestFeasible({ classes, capacity: 0 }); capacity < 1800; capacity += 97) {
      const s = solveExact({ classes, capacity });
      expect(s.optimal).toBe(true);
      expect(s.loss).toBe(best[capacity]);
    }
  });

  it('proves an optimum that meets the bound among tied states beyond the limit', () => {
    const classes = random(10, 100, 20, (u) => {
      const cost = 2 * Math.floor(u() * 500_000);
      return { cost, loss: 1_000_000 - cost };
    });
    const capacity = 30_000_001;
    const s = solveExact({ classes, capacity }, { maxStates: 512 });
    expectConsistent({ classes, capacity }, s);
    expect(s).toMatchObject({ cost: 30_000_000, loss: 70_000_000, lowerBound: 70_000_000, optimal: true });
    expect(solveGreedy({ classes, capacity }).loss).toBeGreaterThan(s.loss);
  });

  it('solves 300 classes × 64 weight × activation pairs to optimality', () => {
    const rng = new Rng(5);
    const layer = Array.from({ length: 300 }, () => [5 + (4 * rng.u32()) / 2 ** 32, -3 + (4 * rng.u32()) / 2 ** 32].map((e) => 10 ** e));
    const classes = random(6, 300, 64, (u, c, n) => {
      const [w, a] = [1 + (n >> 3), 1 + (n & 7)];
      return { cost: Math.floor(layer[c][0]) * w * a, loss: layer[c][1] * (4 ** -w * (0.7 + 0.6 * u()) + 4 ** -a) };
    });
    for (const bits of [2, 3, 4, 6]) {
      const capacity = layer.reduce((sum, [macs]) => sum + Math.floor(macs) * bits * bits, 0);
      const s = solveExact({ classes, capacity });
      expectConsistent({ classes, capacity }, s);
      expect(s.optimal).toBe(true);
      expect(s.loss).toBeLessThanOrEqual(solveGreedy({ classes, capacity }).loss);
      expect(s.loss / s.lowerBound).toBeLessThan(1.02);
    }
  });

  it('stays valid when the state limit is hit', () => {
    // Concave losses: the hull is two points a class, so the relaxation prunes little.
    const classes = random(7, 30, 12, (u) => {
      const cost = Math.floor(u() * 100);
      return { cost, loss: Math.sqrt(100 - cost) + u() };
    });
    const best = table(classes, 2000);
    const proven = [2, 3, 8, 64, 65536].map((maxStates) =>
      [700, 1000, 1300, 2000].filter((capacity) => {
        const s = solveExact({ classes, capacity }, { maxStates });
        expectConsistent({ classes, capacity }, s);
        expect(s.loss).toBeLessThanOrEqual(solveGreedy({ classes, capacity }).loss);
        expect(s.lowerBound).toBeLessThanOrEqual(best[capacity] * (1 + 1e-12));
        if (s.optimal) closeTo(s.loss, best[capacity]);
        return s.optimal;
      }).length,
    );
    expect(proven[0]).toBeLessThan(4); // the limit was hit
    expect(proven[4]).toBe(4);
  });

  it('prefers the lower cost among equal losses', () => {
    const problem = { classes: [items([6, 0], [0, 1]), items([3, 5], [7, 4], [11, 2])], capacity: 10 };
    expect(solveGreedy(problem)).toMatchObject({ choice: [0, 0], cost: 9, loss: 5 });
    expect(solveExact(problem)).toMatchObject({ choice: [1, 1], cost: 7, loss: 5 });
  });

  it('is deterministic and leaves its input alone', () => {
    const classes = random(8, 40, 8, (u) => ({ cost: Math.floor(u() * 9), loss: Math.floor(u() * 9) }));
    const problem = { classes, capacity: 100 };
    const before = JSON.stringify(problem);
    expect(solveExact(problem)).toEqual(solveExact(JSON.parse(before) as MckpProblem));
    expect(solveGreedy(problem)).toEqual(solveGreedy(problem));
    expect(JSON.stringify(problem)).toBe(before);
  });

  it('takes pinned classes, no classes, and no limit', () => {
    const classes = [items([5, 3]), items([1, 9], [4, 2], [4, 2], [9, 2])];
    expect(solveExact({ classes, capacity: 9 })).toMatchObject({ choice: [0, 1], cost: 9, loss: 5, gap: 0, optimal: true });
    expect(solveExact({ classes, capacity: 6.9 })).toMatchObject({ choice: [0, 0], cost: 6, loss: 12 });
    expect(solveExact({ classes, capacity: Infinity }).choice).toEqual([0, 1]);
    expect(solveExact({ classes: [], capacity: 0 })).toMatchObject({ choice: [], cost: 0, loss: 0, optimal: true });
  });
});

describe('greedy', () => {
  it('is feasible, never below the exact optimum, and shares its LP bound', () => {
    fc.assert(
      fc.property(fc.oneof(problems(whole), problems(real)), (problem) => {
        const [greedy, exact] = [solveGreedy(problem), solveExact(problem)];
        expectConsistent(problem, greedy);
        expect(exact.loss).toBeLessThanOrEqual(greedy.loss);
        expect(greedy.lowerBound).toBeLessThanOrEqual(exact.loss + 1e-11 * (1 + Math.abs(exact.loss)));
        if (greedy.optimal) closeTo(greedy.loss, exact.loss);
      }),
      { seed: 3, numRuns: 400 },
    );
  });

  it('retires a class whose step does not fit and goes on with the others', () => {
    // By slope 10, 9, 3, 2.5, 2. Of 6 units the first takes 2, the second (5 units) does not fit, the next two do.
    const classes = [items([0, 20], [2, 0]), items([0, 45], [5, 0]), items([0, 6], [2, 0]), items([0, 5], [2, 0]), items([0, 8], [4, 0])];
    const s = solveGreedy({ classes, capacity: 6 });
    expect(s.choice).toEqual([1, 0, 1, 1, 0]);
    expect(s).toMatchObject({ cost: 6, loss: 53, lowerBound: 64 - 9 * 4, optimal: false, gap: 25 / 53 }); // four fifths of the second
    const exact = { choice: [0, 1, 0, 0, 0], cost: 5, loss: 39, lowerBound: 28, gap: 0, optimal: true };
    expect(solveExact({ classes, capacity: 6 })).toEqual(exact);
  });

  it('ends with single swaps to items off the hull', () => {
    const classes = [items([0, 10], [3, 9], [10, 0])];
    expect(convexHull(classes[0])).toEqual([0, 2]);
    expect(solveGreedy({ classes, capacity: 5 }).choice).toEqual([1]);
  });
});

describe('filters', () => {
  it('dominance keeps exactly the items that none beats, the first of equals, by cost', () => {
    expect(dominanceFilter(items([3, 1], [1, 5], [3, 1], [2, 5], [2, 3], [9, 1], [1, 7]))).toEqual([1, 4, 0]);
    fc.assert(
      fc.property(fc.array(whole, { minLength: 1, maxLength: 12 }), (list) => {
        const beats = (a: MckpItem, b: MckpItem): boolean => a.cost <= b.cost && a.loss <= b.loss && (a.cost < b.cost || a.loss < b.loss);
        const same = (a: MckpItem, b: MckpItem): boolean => a.cost === b.cost && a.loss === b.loss;
        const beaten = (i: number): boolean => list.some((o, j) => beats(o, list[i]) || (j < i && same(o, list[i])));
        const kept = dominanceFilter(list);
        expect([...kept].sort((a, b) => a - b)).toEqual(list.map((_, i) => i).filter((i) => !beaten(i)));
        expect(kept).toEqual([...kept].sort((a, b) => list[a].cost - list[b].cost));
      }),
      { seed: 4, numRuns: 300 },
    );
  });

  it('dominance is lossless: the optimum of the filtered problem is that of the whole one', () => {
    fc.assert(
      fc.property(problems(whole), ({ classes, capacity }) => {
        const filtered = { classes: classes.map((c) => dominanceFilter(c).map((i) => c[i])), capacity };
        expect(bruteForce(filtered)).toEqual(bruteForce({ classes, capacity }));
        expect(solveExact(filtered).loss).toBe(solveExact({ classes, capacity }).loss);
      }),
      { seed: 5, numRuns: 300 },
    );
  });

  it('the hull is strictly convex and holds a minimiser of loss + λ·cost for every λ ≥ 0', () => {
    fc.assert(
      fc.property(fc.array(whole, { minLength: 1, maxLength: 12 }), fc.integer({ min: 0, max: 40 }), (list, quarters) => {
        const hull = convexHull(list);
        const value = (i: number): number => list[i].loss + (quarters / 4) * list[i].cost;
        expect(Math.min(...hull.map(value))).toBe(Math.min(...list.map((_, i) => value(i))));
        for (let n = 2; n < hull.length; n++) {
          const [a, b, c] = hull.slice(n - 2, n + 1).map((i) => list[i]);
          expect((a.loss - b.loss) * (c.cost - b.cost)).toBeGreaterThan((b.loss - c.loss) * (b.cost - a.cost));
        }
      }),
      { seed: 6, numRuns: 300 },
    );
  });

  it('the LP bound is the LP optimum (by duality), tightened only by rounding the capacity to reachable costs', () => {
    fc.assert(
      fc.property(problems(whole), (problem) => {
        const bound = lpLowerBound(problem);
        const exact = solveExact(problem).loss;
        expect(bound).toBeLessThanOrEqual(exact + 1e-9);
        expect(bound).toBeGreaterThanOrEqual(dualBound(problem) - 1e-9);
        const classes = [...problem.classes, items([0, 0], [1, -0.5])]; // all costs are multiples of 1
        closeTo(lpLowerBound({ classes, capacity: problem.capacity }), dualBound({ classes, capacity: problem.capacity }));
      }),
      { seed: 7, numRuns: 300 },
    );
    const bounds = (...classes: MckpItem[][]): number[] => [4, 5, 6].map((capacity) => lpLowerBound({ classes, capacity }));
    expect(bounds(items([0, 8], [8, 0]), items([0, 2], [2, 1]))).toEqual([6, 6, 4]);
  });
});

describe('Pareto front', () => {
  it('ascends from the cheapest choice to the least loss, each point optimal for its cost', () => {
    const classes = random(9, 20, 6, (u) => ({ cost: Math.floor(u() * 40), loss: Math.floor(u() * 500) }));
    const front = paretoFront({ classes, capacity: 0 }, 12);
    const best = table(classes, 800);
    expect(front.length).toBeGreaterThan(6);
    expect(front.length).toBeLessThanOrEqual(12);
    expect(front[0].cost).toBe(smallestFeasible({ classes, capacity: 0 }));
    expect(front[front.length - 1].loss).toBe(best[800]);
    front.forEach((s, n) => {
      expect(s.loss).toBe(best[s.cost]);
      if (n > 0) {
        expect(s.cost).toBeGreaterThan(front[n - 1].cost);
        expect(s.loss).toBeLessThan(front[n - 1].loss);
      }
    });
  });

  it('is one point where nothing is to choose', () => {
    const classes = [items([4, 1]), items([2, 1], [3, 1])];
    expect(paretoFront({ classes, capacity: 0 })).toMatchObject([{ choice: [0, 0], cost: 6, loss: 2 }]);
  });
});

describe('errors', () => {
  it('names the smallest feasible cost', () => {
    const problem = { classes: [items([7, 1], [5, 2]), items([6, 1])], capacity: 10.5 };
    expect(smallestFeasible(problem)).toBe(11);
    for (const run of [solveExact, solveGreedy, lpLowerBound]) {
      const d = diagnosticOf(() => run(problem));
      expect(d.code).toBe('E501');
      expect(d.expected).toContain('11');
    }
    expect(solveExact({ ...problem, capacity: 11 }).choice).toEqual([1, 0]);
  });

  it('refuses empty classes, numbers that are not finite, and sums beyond exact integers', () => {
    const empty = { classes: [items([1, 1]), []], capacity: 9 };
    expect(diagnosticOf(() => solveExact(empty))).toMatchObject({ code: 'E501', found: 'class 1 is empty' });
    for (const bad of [[NaN, 1], [Infinity, 1], [1.5, 1], [-1, 1], [2 ** 53, 1], [1, NaN], [1, -Infinity]] as [number, number][]) {
      for (const run of [solveExact, solveGreedy, lpLowerBound, smallestFeasible, paretoFront]) {
        expect(diagnosticOf(() => run({ classes: [items([0, 0], bad)], capacity: 9 })).code).toBe('E901');
      }
      expect(diagnosticOf(() => dominanceFilter(items(bad))).code).toBe('E901');
    }
    expect(diagnosticOf(() => solveExact({ classes: [items([1, 1])], capacity: NaN })).code).toBe('E901');
    expect(diagnosticOf(() => solveExact({ classes: Array(9).fill(items([2 ** 50, 1])), capacity: Infinity })).code).toBe('E901');
    expect(diagnosticOf(() => solveExact({ classes: Array(2).fill(items([1, 1e308])), capacity: 9 })).code).toBe('E901');
  });
});
