import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import type { Graph } from './graph.js';
import { builder, ops } from './ops.test.fixtures.js';
import { type Pass, definePass, runPasses } from './pass.js';

const b = builder();
const x = b.input('x', { dtype: 'f32', shape: [4] });
const g = b.build([b.add('unary', [x], {}, { names: ['y'] })]);

/** Appends `times` copies of the last node. */
const grow = definePass({
  name: 'grow', summary: 'a longer chain', from: 'float', to: 'float', options: z.strictObject({ times: z.number().int().default(1) }),
  run(g, { times }) {
    const n = builder();
    let last = n.input('x', { dtype: 'f32', shape: [4] });
    for (let i = 0; i < g.nodes.length + times; i++) last = n.add('unary', [last]);
    return n.build([last]);
  },
});
const pass = (name: string, run: (g: Graph) => Graph, to: Pass['to'] = 'float', from: Pass['from'] = 'float'): Pass =>
  definePass({ name, summary: name, from, to, options: z.strictObject({}), run });
const mark = pass('mark', (g) => ({ ...g, phase: 'candidates' }), 'candidates');

describe('runPasses', () => {
  it('runs passes in order, with checked options, timings of the given clock, and prints', async () => {
    const printed: [string, string][] = [];
    let now = 0;
    const { graph, timings, stopped } = await runPasses(g, [{ pass: grow, options: { times: 2 } }, { pass: mark }], ops, {
      printAfter: new Set(['mark']), onPrint: (name, { text }) => printed.push([name, text]), clock: () => now++,
    });
    expect(graph.nodes.length).toBe(3);
    expect(timings).toEqual([{ pass: 'grow', milliseconds: 1 }, { pass: 'mark', milliseconds: 1 }]);
    expect(stopped).toBe(false);
    expect(printed).toEqual([['mark', expect.stringMatching(/^graph g candidates\(/)]]);
  });

  it('stops before the first pass that leaves the wanted phase', async () => {
    const { graph, timings, stopped } = await runPasses(g, [{ pass: grow }, { pass: mark }], ops, { stopAfter: 'float' });
    expect([graph.phase, timings.length, stopped]).toEqual(['float', 1, true]);
  });

  it('names the pass that broke the graph, or was given or made the wrong phase', async () => {
    const breaker = pass('breaker', (g) => ({ ...g, outputs: ['z'] }));
    await expect(runPasses(g, [{ pass: grow }, { pass: breaker }], ops)).rejects.toMatchObject({ diagnostic: { code: 'E402', message: expect.stringContaining('after breaker') } });
    await expect(runPasses(g, [{ pass: mark }, { pass: grow }], ops)).rejects.toMatchObject({ diagnostic: { code: 'E402', found: 'candidates', expected: 'float' } });
    await expect(runPasses(g, [{ pass: pass('lazy', (g) => g, 'chosen') }], ops)).rejects.toMatchObject({ diagnostic: { code: 'E402', message: expect.stringContaining('lazy') } });
  });

  it('refuses unknown pass names and bad options', async () => {
    await expect(runPasses(g, [{ pass: grow }, { pass: mark }], ops, { printAfter: new Set(['grwo']) })).rejects.toMatchObject({ diagnostic: { code: 'E101', found: 'grwo', expected: 'grow, mark' } });
    await expect(runPasses(g, [{ pass: grow, options: { times: 'many' } }], ops)).rejects.toMatchObject({ diagnostic: { code: 'E102', message: 'bad options of pass grow' } });
  });

  it('can be interrupted between passes', async () => {
    const controller = new AbortController();
    const aborting = pass('abort', (g) => {
      controller.abort(new Error('enough'));
      return g;
    });
    await expect(runPasses(g, [{ pass: aborting }, { pass: grow }], ops, { signal: controller.signal })).rejects.toThrow('enough');
  });
});
