/** Static memory planning: offsets in one arena for buffers with known lifetimes. */

export interface Lifetime {
  readonly bytes: number;
  /** First and last call index during which the buffer is alive, inclusive. */
  readonly first: number;
  readonly last: number;
}

export interface MemoryPlan {
  readonly offsets: readonly number[];
  readonly bytes: number;
  /** Largest sum of the sizes that are alive at one time: no plan needs less. */
  readonly live: number;
}

export const ALIGNMENT = 16;
export const alignUp = (n: number, to = ALIGNMENT): number => Math.ceil(n / to) * to;

/** Largest sum of aligned sizes alive together. */
function largestLiveSet(buffers: readonly Lifetime[]): number {
  const change = new Map<number, number>();
  const add = (at: number, bytes: number): void => void change.set(at, (change.get(at) ?? 0) + bytes);
  for (const b of buffers) {
    add(b.first, alignUp(b.bytes));
    add(b.last + 1, -alignUp(b.bytes));
  }
  let [live, most] = [0, 0];
  for (const [, bytes] of [...change].sort(([a], [b]) => a - b)) most = Math.max(most, (live += bytes));
  return most;
}

/** Places buffers one after the other, each at the smallest gap (or the lowest one) that fits between those alive with it. */
function place(buffers: readonly Lifetime[], order: readonly number[], best: boolean): { offsets: number[]; bytes: number } {
  const offsets = new Array<number>(buffers.length).fill(0);
  const placed: number[] = []; // by offset
  let total = 0;
  for (const i of order) {
    const size = alignUp(buffers[i].bytes);
    let at = 0;
    let found = -1;
    let room = Infinity;
    for (const j of placed) {
      if (buffers[j].last < buffers[i].first || buffers[j].first > buffers[i].last) continue;
      const gap = offsets[j] - at;
      if (gap >= size && gap < room) [found, room] = [at, gap];
      if (found >= 0 && !best) break;
      at = Math.max(at, offsets[j] + alignUp(buffers[j].bytes));
    }
    if (found >= 0) at = found;
    offsets[i] = at;
    total = Math.max(total, at + size);
    let k = placed.length;
    while (k > 0 && (offsets[placed[k - 1]] > at || (offsets[placed[k - 1]] === at && placed[k - 1] > i))) k--;
    placed.splice(k, 0, i);
  }
  return { offsets, bytes: total };
}

/** Perturbed orders tried where the fixed ones leave the arena above the live set. */
const SWAPS = 200;
/** Placements × buffers² afforded for them. */
const WORK = 2 ** 24;

/**
 * Offsets for each buffer so that no two that are alive together overlap. Several orders are tried, and the smallest arena is kept:
 * by size (Pisarchyk & Lee, "Efficient Memory Management for Deep Neural Net Inference", 2020), by size times lifetime, by lifetime,
 * by first use; then, while the arena is above the largest live set, the best order with the buffer on top moved to the front
 * (it gets a low place before those that pushed it up).
 */
export function planMemory(buffers: readonly Lifetime[]): MemoryPlan {
  const live = largestLiveSet(buffers);
  const span = (b: Lifetime): number => b.last - b.first + 1;
  const keys: readonly ((b: Lifetime) => number)[] = [(b) => b.bytes, (b) => alignUp(b.bytes) * span(b), span, (b) => -b.first];
  const used = buffers.flatMap((b, i) => (b.bytes > 0 ? [i] : []));
  const orders = keys.map((key) => [...used]
    .sort((a, b) => key(buffers[b]) - key(buffers[a]) || buffers[b].bytes - buffers[a].bytes || a - b));

  let winner = { offsets: new Array<number>(buffers.length).fill(0), bytes: Infinity };
  let winning: readonly number[] = [];
  const attempt = (order: readonly number[], best: boolean): void => {
    const plan = place(buffers, order, best);
    if (plan.bytes < winner.bytes) [winner, winning] = [plan, order];
  };
  for (const order of orders) {
    for (const best of [false, true]) if (winner.bytes > live) attempt(order, best);
  }
  const swaps = Math.min(SWAPS, Math.floor(WORK / Math.max(1, used.length ** 2)));
  for (let n = 0, order = winning; n < swaps && winner.bytes > live; n++) {
    const plan = n === 0 ? winner : place(buffers, order, false);
    if (plan.bytes < winner.bytes) [winner, winning] = [plan, order];
    const top = order.reduce((t, i) => (plan.offsets[i] + alignUp(buffers[i].bytes) > plan.offsets[t] + alignUp(buffers[t].bytes) ? i : t), order[0]);
    order = [top, ...order.filter((i) => i !== top)];
  }
  return { ...winner, bytes: used.length ? winner.bytes : 0, live };
}
