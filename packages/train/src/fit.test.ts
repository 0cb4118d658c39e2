import type { DataSource } from '@bitloom/data';
import { createBuilder } from '@bitloom/ops';
import { Rng, tensor, toNumbers } from '@bitloom/tensor';
import { describe, expect, it } from 'vitest';
import { type CheckpointStore, type EpochLog, Epochs, type FitProgress, type TrainingState, Trainer, fit, losses, oneHot, optimizers, schedules } from './index.js';

const [SAMPLES, FEATURES, CLASSES, BATCH] = [50, 6, 3, 8];
const rng = new Rng(5);
const inputs = Array.from({ length: SAMPLES }, () => Float32Array.from({ length: FEATURES }, () => rng.normal()));
/** The label is the largest of the first features. */
const labelOf = (x: Float32Array): number => [0, 1, 2].reduce((best, c) => (x[c] > x[best] ? c : best), 0);
const source: DataSource = {
  kind: 'test', size: SAMPLES, labelled: true, fingerprint: '',
  async *samples(range = {}) {
    for (const i of range as readonly number[]) yield { inputs: new Map([['x', tensor('f32', [FEATURES], inputs[i])]]), label: labelOf(inputs[i]) };
  },
};

const memory = (): CheckpointStore & { data: Uint8Array | null; saves: number } => ({
  data: null,
  saves: 0,
  async load() {
    return this.data;
  },
  async save(data) {
    this.data = data;
    this.saves++;
  },
});

async function run(store: CheckpointStore | null, progress: (p: FitProgress) => void = () => {}, identity = 'a'): Promise<{ log: readonly EpochLog[]; state: TrainingState }> {
  const b = createBuilder('linear');
  const x = b.input('x', { dtype: 'f32', shape: [BATCH, FEATURES] });
  const t = b.input('t', { dtype: 'f32', shape: [BATCH, CLASSES] });
  const w = { id: b.input('w', { dtype: 'f32', shape: [CLASSES, FEATURES] }), name: 'w', initial: tensor('f32', [CLASSES, FEATURES], new Float32Array(CLASSES * FEATURES)), rateScale: 1, decay: 0 };
  const logits = b.add('linear', [x, w.id], { activation: null });
  const loss = losses.crossEntropy(b, logits, t);
  const trainer = await Trainer.create({ graph: b.build([loss, logits]), loss, parameters: [w], watched: [logits] }, optimizers.sgd(), { threads: 1 });
  try {
    const log = await fit(trainer, new Epochs(source, { batch: BATCH, seed: 1, augmentation: null }), {
      epochs: 8, rate: 0.5, schedule: schedules.cosine, identity, store, saveEvery: 4, progress,
      feeds: ({ inputs: i, labels }) => new Map([[x, i.get('x')!], [t, oneHot(labels, CLASSES)]]),
      correct: ({ watched }, { labels }) => {
        const z = toNumbers(watched.get(logits)!);
        return [...labels].filter((l, n) => [0, 1, 2].every((c) => z[n * CLASSES + l] >= z[n * CLASSES + c])).length;
      },
    });
    return { log, state: trainer.training };
  } finally {
    await trainer.close();
  }
}

describe('fit', () => {
  it('learns, and tells how', async () => {
    const seen: FitProgress[] = [];
    const { log } = await run(null, (p) => seen.push(p));
    expect(log).toHaveLength(8);
    expect(log[7].loss).toBeLessThan(0.5 * log[0].loss);
    expect(log[7].accuracy).toBeGreaterThan(0.9);
    expect(seen.map((p) => p.step)).toEqual(Array.from({ length: 48 }, (_, i) => i + 1));
    expect(log[0].loss).toBeCloseTo(seen.slice(0, 6).reduce((s, p) => s + p.loss, 0) / 6);
    expect(log[0].accuracy).toBeCloseTo(seen.slice(0, 6).reduce((s, p) => s + p.accuracy!, 0) / 6);
  });

  it('ended at random moments and begun again, ends with the same bits', async () => {
    const whole = await run(null);
    const store = memory();
    const ends = new Rng(9);
    let ended = 0;
    for (;;) {
      const at = 1 + ends.int(9);
      let done = 0;
      const result = await run(store, () => {
        if (++done === at && ended < 12) throw new Error('ended');
      }).catch((e: Error) => e);
      if (!(result instanceof Error)) {
        expect(result).toEqual(whole);
        break;
      }
      expect(result.message).toBe('ended');
      ended++;
    }
    expect(ended).toBeGreaterThan(5);
    // A finished run is not run again.
    const saves = store.saves;
    expect(await run(store, () => expect.unreachable())).toEqual(whole);
    expect(store.saves).toBe(saves);
  });

  it('refuses the checkpoint of another run (E706)', async () => {
    const store = memory();
    await run(store);
    await expect(run(store, undefined, 'b')).rejects.toMatchObject({ code: 'E706' });
  });
});
