/** The whole search on a small network. */
import { type SearchProblem, type SearchResult, activationChoices, choiceCost, toAssignment } from '@bitloom/search';
import type { CheckpointStore } from '@bitloom/train';
import { describe, expect, it } from 'vitest';
import { data, network, problem } from './networks.test.util.js';
import { type EbsOptions, ebs, ebsOptions } from './strategy.js';

const coded = (code: string): unknown => expect.objectContaining({ code });
const options = (o: Partial<EbsOptions> = {}): EbsOptions => ebsOptions.parse({ epochs: 8, batch: 8, rate: 0.01, temperature: 1, ...o });
const run = (p: SearchProblem, o: Partial<EbsOptions> = {}): Promise<SearchResult> => ebs.search(p, options(o));
/** Small graphs. */
const few = { weightBits: [2, 4], activationBits: [4] } as const;
const plain = ({ choice, trace }: SearchResult): unknown => ({ weights: [...choice.weights], activations: [...choice.activations], trace });

describe('ebs', () => {
  it.each(['det', 'sto'] as const)('%s: a layer that matters gets more bits than one of the same cost that does not', async (mode) => {
    const p = problem('size=600');
    const { choice, trace, pareto, objective } = await run(p, { mode, lambda: 0.7 });
    expect(choice.weights.get('loud')!).toBeGreaterThan(choice.weights.get('faint')!);
    const cost = choiceCost(p, choice);
    expect(cost).toBeLessThanOrEqual(p.budget!.limit);
    expect(pareto).toMatchObject([{ cost }]);
    expect(objective).toBeNull();
    expect(toAssignment(p, choice).size).toBe(p.layers.length + p.groups.reduce((n, a) => n + a.values.length, 0));
    expect(trace!.epochs).toHaveLength(8);
    expect(trace!.epochs[7].entropy).toBeLessThan(trace!.epochs[0].entropy);
    for (const v of [trace!.mixedLoss, trace!.chosenLoss]) expect(v).toBeGreaterThan(0);
  });

  it.each(['bops=12%', 'latency=750ns'])('expected cost and that of the choice come out near the limit: %s', async (budget) => {
    const p = problem(budget, { activationBits: [1, 2, 3, 4, 5] });
    const { choice, trace } = await run(p);
    const { limit } = p.budget!;
    // One bit of one of four layers is up to a sixth of the cost.
    expect(Math.abs(trace!.epochs[7].cost / limit - 1)).toBeLessThan(0.15);
    expect(choiceCost(p, choice)).toBeLessThanOrEqual(limit);
    expect(choiceCost(p, choice) / limit).toBeGreaterThan(0.8);
    expect(trace!.epochs[7].entropy).toBeLessThan(0.5);
  });

  it('the same seed gives the same bits and numbers, another seed others', async () => {
    const [a, b, c] = [await run(problem('bops=30%', few), { mode: 'sto', epochs: 1 }), await run(problem('bops=30%', few), { mode: 'sto', epochs: 1 }), await run(problem('bops=30%', { ...few, seed: 4 }), { mode: 'sto', epochs: 1 })];
    expect(plain(b)).toEqual(plain(a));
    expect(c.trace).not.toEqual(a.trace);
  });

  it('pins hold, streams have 8 bits, a single candidate is taken', async () => {
    const p = problem('bops=40%', { pins: new Map([['stem', { weights: 8, activations: 8 }], ['loud', { weights: 1, activations: null }]]), activationBits: [4] });
    const { choice } = await run(p, { epochs: 1, penalty: 'l1' });
    expect([choice.weights.get('stem'), choice.weights.get('loud')]).toEqual([8, 1]);
    for (const [id, bits] of activationChoices(p)) expect(bits).toContain(choice.activations.get(id)!);
    const streams = p.groups.filter((a) => a.layers.length === 0);
    expect(streams.length).toBeGreaterThan(0);
    streams.forEach((a) => expect(choice.activations.get(a.id)).toBe(8));
  });

  it('refuses before training: a budget that cannot be met, data without labels, a batch that the model cannot have', async () => {
    const training = { data, atBatch: () => expect.fail('must not train'), state: null, identity: '' };
    await expect(run(problem('size=10', { training }))).rejects.toEqual(coded('E501'));
    await expect(run(problem('size=450', { training: null }))).rejects.toEqual(coded('E304'));
    await expect(run(problem('size=450', { training: { ...training, atBatch: async () => null } }))).rejects.toEqual(coded('E204'));
    await expect(run(problem('size=450', { budget: null }))).rejects.toEqual(coded('E103'));
    await expect(run(problem('size=450', { training: { ...training, atBatch: async (b) => network(b) } }), { batch: 128 })).rejects.toEqual(coded('E303'));
  });
});

describe('an interrupted search', () => {
  const store = (): CheckpointStore & { saved: Uint8Array | null; saves: number } => {
    const s = { saved: null as Uint8Array | null, saves: 0, load: async () => s.saved, save: async (d: Uint8Array) => { s.saved = d.slice(); s.saves++; } };
    return s;
  };
  // 12 steps an epoch; a state after each, and after step 50.
  const long = { mode: 'sto', epochs: 5, crop: 1, flip: true } as const;
  const killed = async (at: number, state: CheckpointStore): Promise<void> => {
    const p = problem('bops=30%', { ...few, progress: (step, done) => { if (step.startsWith('search') && done === at) throw new Error('killed'); } }, state);
    await expect(run(p, long)).rejects.toThrow('killed');
  };

  it('goes on from any step, as often as it takes, with the same result', async () => {
    const whole = plain(await run(problem('bops=30%', few), long));
    const state = store();
    for (const at of [17, 51, 53]) await killed(at, state);
    expect(state.saves).toBe(5);
    expect(plain(await run(problem('bops=30%', few, state), long))).toEqual(whole);
  });

  it('one that had ended gives its result again; a state of another search is refused (E706)', async () => {
    const state = store();
    const p = problem('bops=30%', few, state);
    const first = plain(await run(p, { ...long, epochs: 1 }));
    const saves = state.saves;
    expect(plain(await run(p, { ...long, epochs: 1 }))).toEqual(first);
    expect(state.saves).toBe(saves);
    await expect(run({ ...p, training: { ...p.training!, identity: 'other' } }, { ...long, epochs: 1 })).rejects.toEqual(coded('E706'));
  });
});
