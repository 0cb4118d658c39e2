import type { DataSource, Sample } from '@bitloom/data';

/** A source over a function of the index. */
export const sourceOf = (size: number, labelled: boolean, sample: (index: number) => Sample): DataSource => ({
  kind: 'test', size, labelled, fingerprint: `test ${size}`,
  async *samples(range = {}) {
    const indices = 'length' in range ? range : Array.from({ length: (range.end ?? size) - (range.start ?? 0) }, (_, i) => i + (range.start ?? 0));
    for (const i of indices) yield sample(i);
  },
});
