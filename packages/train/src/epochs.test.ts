import type { DataSource } from '@bitloom/data';
import { tensor } from '@bitloom/tensor';
import { describe, expect, it } from 'vitest';
import { Epochs, oneHot } from './index.js';

const SHAPE = [2, 3, 4];
/** Sample i holds 100·i, 100·i + 1 …; its label is i modulo 5. */
const source = (size: number, labelled = true): DataSource => ({
  kind: 'test', size, labelled, fingerprint: '',
  async *samples(range = {}) {
    for (const i of range as readonly number[]) yield { inputs: new Map([['x', tensor('f32', SHAPE, Float32Array.from({ length: 24 }, (_, k) => 100 * i + k))]]), label: i % 5 };
  },
});
const plain = { batch: 4, seed: 3, augmentation: null };
const first = async (e: Epochs, step: number): Promise<number[]> => {
  const { inputs, labels } = await e.batch(step);
  const x = inputs.get('x')!;
  expect(x.shape).toEqual([4, ...SHAPE]);
  const samples = [0, 1, 2, 3].map((i) => Math.floor(Number(x.data[24 * i + 5]) / 100));
  expect([...labels]).toEqual(samples.map((s) => s % 5));
  return samples;
};

describe('Epochs', () => {
  it('every sample at most once an epoch, in another order each', async () => {
    const e = new Epochs(source(18), plain);
    expect(e.stepsPerEpoch).toBe(4);
    const epochs = [];
    for (let k = 0; k < 3; k++) epochs.push((await Promise.all([0, 1, 2, 3].map((s) => first(e, 4 * k + s)))).flat());
    for (const samples of epochs) expect(new Set(samples).size).toBe(16);
    expect(new Set(epochs.map((s) => s.join())).size).toBe(3);
  });

  it('a step is the same wherever the run begins, and for the same seed only', async () => {
    const augmented = { ...plain, augmentation: { pad: 1, flip: true } };
    const run = async (seed: number, from: number): Promise<unknown[]> => {
      const e = new Epochs(source(18), { ...augmented, seed });
      const all = [];
      for (let s = from; s < 10; s++) all.push(await e.batch(s));
      return all;
    };
    const whole = await run(3, 0);
    expect(await run(3, 6)).toEqual(whole.slice(6));
    expect(await run(4, 6)).not.toEqual(whole.slice(6));
  });

  it('views differ between epochs and images', async () => {
    const e = new Epochs(source(4), { ...plain, augmentation: { pad: 2, flip: true } });
    const seen = new Set<string>();
    for (let s = 0; s < 6; s++) {
      const { inputs, labels } = await e.batch(s);
      [...labels].forEach((l, i) => seen.add(`${l}: ${(inputs.get('x')!.data as Float32Array).subarray(24 * i, 24 * i + 24).join()}`));
    }
    expect(seen.size).toBeGreaterThan(18);
  });

  it('refuses unlabelled (E304) and too small sets (E303), and labels that are no class (E302)', () => {
    const coded = (code: string) => expect.objectContaining({ code });
    expect(() => new Epochs(source(18, false), plain)).toThrowError(coded('E304'));
    expect(() => new Epochs(source(3), plain)).toThrowError(coded('E303'));
    expect(() => oneHot(Int32Array.of(0, 3), 3)).toThrowError(coded('E302'));
    expect([...oneHot(Int32Array.of(2, 0), 3).data]).toEqual([0, 0, 1, 1, 0, 0]);
  });
});
