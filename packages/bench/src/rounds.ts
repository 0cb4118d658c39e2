/** Interleaved measurement: noise of the machine hits all contenders alike. */
import type { Timing } from './worker.js';

export interface Contender {
  readonly name: string;
  run(n: number): Promise<Timing>;
}

/**
 * Times of one run in ns: median over the rounds, and smallest, of each round's median. The shortest single run would not do:
 * on a machine with other work to do short runs find it idle now and then, long ones never.
 */
export interface Measurement {
  readonly name: string;
  readonly iterations: number;
  readonly best: number;
  readonly median: number;
}

export interface RoundOptions {
  readonly rounds: number;
  /** Least time that a contender runs in a round. */
  readonly roundMs: number;
  readonly progress: (done: number, total: number) => void;
}

export function median(values: readonly number[]): number {
  const s = [...values].sort((a, b) => a - b);
  return (s[(s.length - 1) >> 1] + s[s.length >> 1]) / 2;
}

/** Warm-up ends when this many batches in a row agree within the tolerance; it lasts between so many times a round. */
const STEADY = { batches: 4, tolerance: 0.03, least: 15, longest: 150 } as const;

/** Runs until times are steady. @returns iterations that fill a round */
async function warmUp(c: Contender, roundMs: number): Promise<number> {
  const recent: number[] = [];
  let spent = 0;
  for (let n = 1; ; ) {
    const t = await c.run(n);
    spent += t.total / 1e6;
    recent.push(t.min);
    const last = recent.slice(-STEADY.batches);
    const steady = last.length === STEADY.batches && Math.max(...last) <= Math.min(...last) * (1 + STEADY.tolerance);
    n = Math.max(1, Math.ceil((roundMs * 1e6) / t.median));
    if ((steady && spent >= STEADY.least * roundMs) || spent >= STEADY.longest * roundMs) return n;
  }
}

/** Runs contenders round-robin, only one at a time, each for at least `roundMs` a round. Order alternates from round to round. */
export async function measure(contenders: readonly Contender[], o: RoundOptions): Promise<Measurement[]> {
  const counts: number[] = [];
  for (const c of contenders) counts.push(await warmUp(c, o.roundMs));
  const timings = contenders.map((): Timing[] => []);
  for (let r = 0; r < o.rounds; r++) {
    const order = contenders.map((_, i) => (r % 2 === 0 ? i : contenders.length - 1 - i));
    for (const i of order) timings[i].push(await contenders[i].run(counts[i]));
    o.progress(r + 1, o.rounds);
  }
  return contenders.map(({ name }, i) => ({
    name, iterations: counts[i] * o.rounds, best: Math.min(...timings[i].map((t) => t.median)), median: median(timings[i].map((t) => t.median)),
  }));
}
