import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { hashOf, readTimes, stage } from './stages.js';

const folder = mkdtempSync(join(tmpdir(), 'bitloom-stages-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const never = (): Promise<never> => Promise.reject(new Error('made again'));

it('a step is made once for a key', async () => {
  expect(await stage(folder, 'step', 'a', async () => ({ n: 1 }))).toEqual({ n: 1 });
  expect(await stage(folder, 'step', 'a', never)).toEqual({ n: 1 });
  expect(await stage(folder, 'step', 'b', async () => ({ n: 2 }))).toEqual({ n: 2 });
  expect(await stage(folder, 'step', 'a', async () => ({ n: 3 }))).toEqual({ n: 3 });
  expect(Object.keys(await readTimes(folder))).toEqual(['step']);
});

it('what is damaged is made again', async () => {
  for (const text of ['', '{', 'null', '[]', '{"key":"a"}', '{"value":{"n":9}}']) {
    writeFileSync(join(folder, 'step.json'), text);
    expect(await stage(folder, 'step', 'a', async () => ({ n: 4 }))).toEqual({ n: 4 });
  }
});

it('what a step keeps itself stays, whatever happens after that', async () => {
  await expect(stage(folder, 'long', 'a', async (keepIt: (v: number[]) => Promise<void>) => {
    await keepIt([1, 2]);
    throw new Error('killed');
  })).rejects.toThrow('killed');
  expect(await stage(folder, 'long', 'a', never)).toEqual([1, 2]);
});

it('results are what will be read: values that JSON does not have are gone at once', async () => {
  const made = await stage(folder, 'odd', 'a', async () => ({ loss: Infinity, left: undefined }) as { loss: number; left?: number });
  expect(made).toEqual({ loss: null });
  expect(made).toEqual(JSON.parse(readFileSync(join(folder, 'odd.json'), 'utf8')).value);
});

it('hashes tell values apart', () => expect(new Set([null, 1, '1', [1], [[1]], { a: 1 }, { a: 2 }].map(hashOf)).size).toBe(7));
