import { expect, it } from 'vitest';
import { measure, median } from './rounds.js';
import type { Timing } from './worker.js';

/** A contender that takes `ns` a run, slower in the first runs, and notes when it runs. */
const fake = (name: string, ns: number, log: string[]): { name: string; run(n: number): Promise<Timing> } => {
  let cold = 3;
  return {
    name,
    run: async (n) => {
      const t = cold-- > 0 ? 5 * ns : ns;
      log.push(`${name}${n}`);
      return { total: n * t, min: t, median: t + 1 };
    },
  };
};

it('medians', () => {
  expect([median([3, 1, 2]), median([4, 1, 2, 3])]).toEqual([2, 2.5]);
});

it('contenders take turns for the time of a round, after they have become steady', async () => {
  const log: string[] = [];
  const done: number[] = [];
  const results = await measure([fake('a', 1e6, log), fake('b', 4e6, log)], { rounds: 3, roundMs: 20, progress: (n) => done.push(n) });
  expect(results).toEqual([
    { name: 'a', iterations: 3 * 20, best: 1e6 + 1, median: 1e6 + 1 },
    { name: 'b', iterations: 3 * 5, best: 4e6 + 1, median: 4e6 + 1 },
  ]);
  // The order turns round, so that no one always follows the same one.
  expect(log.slice(-6)).toEqual(['a20', 'b5', 'b5', 'a20', 'a20', 'b5']);
  expect(done).toEqual([1, 2, 3]);
});

it('a contender that never becomes steady is measured all the same', async () => {
  let k = 0;
  const restless = { name: 'r', run: async (n: number): Promise<Timing> => ({ total: n * 1e8, min: 1e8 * (1 + (k++ % 2)), median: 1e8 }) };
  expect((await measure([restless], { rounds: 2, roundMs: 1, progress: () => {} }))[0].iterations).toBe(2);
});
