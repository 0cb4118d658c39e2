import { describe, expect, it } from 'vitest';
import type { Graph } from './graph.js';
import { builder, ops } from './ops.test.fixtures.js';
import { type Pass, runPasses } from './pass.js';

const b = builder();
const x = b.input('x', { dtype: 'f32', shape: [4] });
const g = b.build([b.add('unary', [x], {}, { names: ['y'] })]);

const pass = (name: string, run: Pass['run'], to: Pass['to'] = 'float', from: Pass['from'] = 'float'): Pass => ({ name, from, to, run });
/** Appends a copy of the last node. */
const grow = pass('grow', async (h) => {
  const n = builder();
  let last = n.input('x', { dtype: 'f32', shape: [4] });
  for (let i = 0; i < h.nodes.length + 1; i++) last = n.add('unary', [last]);
  return n.build([last]);
});
const mark = pass('mark', (h) => ({ ...h, phase: 'candidates' }), 'candidates');

describe('runPasses', () => {
  it('runs passes in order and shows what each made', async () => {
    const seen: [string, Graph][] = [];
    const made = await runPasses(g, [grow, grow, mark], ops, { afterPass: (name, h) => seen.push([name, h]) });
    expect(seen.map(([name, h]) => [name, h.nodes.length, h.phase])).toEqual([['grow', 2, 'float'], ['grow', 3, 'float'], ['mark', 3, 'candidates']]);
    expect(made).toBe(seen[2][1]);
  });

  it('stops before the first pass that leaves the wanted phase', async () => {
    const made = await runPasses(g, [grow, mark], ops, { stopAfter: 'float' });
    expect([made.phase, made.nodes.length]).toEqual(['float', 2]);
  });

  it('names the pass that broke the graph, or was given or made the wrong phase', async () => {
    const refused = (passes: readonly Pass[], diagnostic: object): Promise<void> =>
      expect(runPasses(g, passes, ops)).rejects.toMatchObject({ diagnostic: { code: 'E402', ...diagnostic } });
    await refused([grow, pass('breaker', (h) => ({ ...h, outputs: ['z'] }))], { message: expect.stringContaining('after breaker') });
    await refused([mark, grow], { found: 'candidates', expected: 'float' });
    await refused([pass('lazy', (h) => h, 'chosen')], { message: expect.stringContaining('lazy') });
  });

  it('refuses a graph that is broken before any pass', async () => {
    await expect(runPasses({ ...g, outputs: ['z'] }, [], ops)).rejects.toMatchObject({ diagnostic: { code: 'E402' } });
  });
});
