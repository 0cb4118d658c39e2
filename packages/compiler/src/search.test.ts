import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { createBuilder } from '@bitloom/ops';
import { tensor } from '@bitloom/tensor';
import { afterAll, describe, expect, it } from 'vitest';
import { compile, search } from './index.js';
import { tinyData, tinyNet, workplace } from './networks.test.util.js';
import { syntheticSamples } from './search.js';

it.each([[1, 32, 64], [8, 32, 64], [1, 512, 42], [1, 1024, 10], [4, 1024, 10], [1, 4096, 8]])('random inputs for batches of %i images of %i²: %i', (batch, size, samples) => {
  const b = createBuilder('images');
  const x = b.input('x', { dtype: 'f32', shape: [batch, 1, size, size] });
  const scaled = b.add('mul', [x, b.const(tensor('f32', [1], Float32Array.of(2)))]);
  expect(syntheticSamples(b.build([b.add('relu', [scaled])]))).toBe(samples);
});

describe('a search by training', () => {
  const temp = workplace();
  afterAll(temp.dispose);
  const MODEL = temp.model('tiny', tinyNet());
  const data = temp.data('data', { ...tinyData(32) });
  const config = { calib: data, strategy: 'ebs', budget: 'size=20%', samples: 16, strategyOptions: { epochs: 3, batch: 4 } };

  it('goes on from its state beside the assignment, which it removes in the end; candidates are 1 to 5 bits', async () => {
    const whole = await search(MODEL, { ...config, output: temp.path('whole.json') });
    const out = temp.path('a.json');
    const killed = search(MODEL, { ...config, output: out }, { progress: (step, done) => { if (step.startsWith('search') && done === 7) throw new Error('killed'); } });
    await expect(killed).rejects.toThrow('killed');
    expect([existsSync(`${out}.checkpoint`), existsSync(out)]).toEqual([true, false]);
    const resumed = await search(MODEL, { ...config, output: out });
    expect([existsSync(`${out}.checkpoint`), readFileSync(out, 'utf8')]).toEqual([false, readFileSync(temp.path('whole.json'), 'utf8')]);
    expect(resumed.trace).toEqual(whole.trace);
    expect(resumed.trace!.epochs).toHaveLength(3);
    expect(resumed.budget!.used).toBeLessThanOrEqual(resumed.budget!.limit);
    expect(resumed.layers.map((l) => [l.weightBits, l.activationBits]).every(([w, a], i, all) => (i === 0 || i === all.length - 1 ? w === 8 && a === 8 : w <= 5 && a <= 5))).toBe(true);
  });

  it('compile keeps no state', async () => {
    const report = await compile(MODEL, { ...config, strategyOptions: { epochs: 1, batch: 4 }, rounding: 'nearest', output: temp.path('bundle') });
    expect(report.search.strategy).toBe('ebs');
    expect(readdirSync(temp.root).filter((f) => f.endsWith('.checkpoint'))).toEqual([]);
  });
});
