/** Static memory planning: offsets in one arena for buffers with known lifetimes. */

export interface Lifetime {
  readonly bytes: number;
  /** First and last call index during which the buffer is alive, inclusive. */
  readonly first: number;
  readonly last: number;
}

export const ALIGNMENT = 16;
export const alignUp = (n: number, to = ALIGNMENT): number => Math.ceil(n / to) * to;

/**
 * Offsets for each buffer so that no two that are alive together overlap: largest first, each at the lowest gap that fits
 * (greedy by size; Pisarchyk & Lee, "Efficient Memory Management for Deep Neural Net Inference", 2020).
 */
export function planMemory(buffers: readonly Lifetime[]): { readonly offsets: number[]; readonly bytes: number } {
  const offsets = new Array<number>(buffers.length).fill(0);
  const placed: number[] = [];
  let total = 0;
  const order = buffers.map((_, i) => i).sort((a, b) => buffers[b].bytes - buffers[a].bytes || a - b);
  for (const i of order) {
    const size = alignUp(buffers[i].bytes);
    let at = 0;
    for (const j of placed) {
      if (buffers[j].last < buffers[i].first || buffers[j].first > buffers[i].last) continue;
      if (at + size <= offsets[j]) break;
      at = Math.max(at, offsets[j] + alignUp(buffers[j].bytes));
    }
    offsets[i] = at;
    total = Math.max(total, at + size);
    placed.push(i);
    placed.sort((a, b) => offsets[a] - offsets[b] || a - b);
  }
  return { offsets, bytes: total };
}
