import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ALIGNMENT, type Lifetime, alignUp, planMemory } from './index.js';

const lifetimes = fc.array(fc.record({ bytes: fc.nat(5000), first: fc.nat(20), span: fc.nat(8) }), { maxLength: 40 })
  .map((all) => all.map(({ bytes, first, span }): Lifetime => ({ bytes, first, last: first + span })));

/** Largest sum of aligned sizes alive at one time: no plan can need less. */
const liveBound = (all: readonly Lifetime[]): number =>
  all.reduce((most, { first: t }) => Math.max(most, all.reduce((s, b) => s + (b.first <= t && t <= b.last ? alignUp(b.bytes) : 0), 0)), 0);

describe('planMemory', () => {
  it('keeps live buffers apart, aligned, inside the arena, and between the live bound and the sum', () => {
    fc.assert(fc.property(lifetimes, (all) => {
      const { offsets, bytes, live } = planMemory(all);
      all.forEach((a, i) => {
        expect(offsets[i] % ALIGNMENT).toBe(0);
        expect(offsets[i] + a.bytes).toBeLessThanOrEqual(bytes);
        all.slice(0, i).forEach((b, j) => {
          const together = a.first <= b.last && b.first <= a.last;
          const apart = offsets[i] + a.bytes <= offsets[j] || offsets[j] + b.bytes <= offsets[i];
          expect(!together || apart || a.bytes === 0 || b.bytes === 0, `${i} and ${j}`).toBe(true);
        });
      });
      expect(live).toBe(liveBound(all));
      expect(bytes).toBeGreaterThanOrEqual(live);
      expect(bytes).toBeLessThanOrEqual(all.reduce((s, b) => s + alignUp(b.bytes), 0));
    }), { numRuns: 300 });
  });

  it('reuses memory: a chain needs its two largest neighbours', () => {
    const chain = [100, 400, 300, 50, 320].map((bytes, i): Lifetime => ({ bytes, first: i, last: i + 1 }));
    expect(planMemory(chain).bytes).toBe(liveBound(chain));
    expect(planMemory(chain).bytes).toBe(400 + alignUp(300));
  });

  it('fills a gap left between two living buffers', () => {
    const { offsets, bytes } = planMemory([{ bytes: 64, first: 0, last: 9 }, { bytes: 48, first: 0, last: 1 }, { bytes: 32, first: 0, last: 9 }, { bytes: 48, first: 2, last: 9 }]);
    expect(offsets).toEqual([0, 64, 112, 64]);
    expect(bytes).toBe(144);
  });

  it('is deterministic among equals and empty for nothing', () => {
    const same = Array.from({ length: 5 }, (): Lifetime => ({ bytes: 16, first: 0, last: 0 }));
    expect(planMemory(same).offsets).toEqual([0, 16, 32, 48, 64]);
    expect(planMemory([])).toEqual({ offsets: [], bytes: 0, live: 0 });
  });

  /** Lifetimes of a random network: layers with scratch in a row, results of which some are read again much later. */
  const networks = fc.array(
    fc.record({ bytes: fc.integer({ min: 1, max: 1e6 }), scratch: fc.nat(4e5), skip: fc.oneof(fc.constant(1), fc.integer({ min: 2, max: 12 })) }), { minLength: 1, maxLength: 60 },
  ).map((layers) => layers.flatMap(({ bytes, scratch, skip }, i): Lifetime[] => [{ bytes, first: i, last: i + skip }, { bytes: scratch, first: i, last: i }]));

  it('stays within 1.2 times the largest live set on random networks', () => {
    fc.assert(fc.property(networks, (all) => {
      const { bytes, live } = planMemory(all);
      expect(bytes / live).toBeLessThanOrEqual(1.2);
    }), { numRuns: 300 });
  });
});
