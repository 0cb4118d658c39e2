import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { LOCK, alone } from './lock.js';

const folder = mkdtempSync(join(tmpdir(), 'bitloom-lock-'));
afterAll(() => rmSync(folder, { recursive: true }));
const file = join(folder, LOCK);

describe('alone', () => {
  it('lets nobody else in while it works, and leaves nothing, whatever became of the work', async () => {
    const result = await alone(folder, async () => {
      expect(readFileSync(file, 'utf8')).toBe(`${process.pid} ${hostname()}`);
      await expect(alone(folder, async () => 0)).rejects.toMatchObject({ code: 'E703', diagnostic: { found: `process ${process.pid} on ${hostname()}` } });
      return 7;
    });
    expect(result).toBe(7);
    expect(existsSync(file)).toBe(false);
    await expect(alone(folder, () => Promise.reject(new Error('broken')))).rejects.toThrow('broken');
    expect(existsSync(file)).toBe(false);
  });

  it('takes over from a process of this machine that is gone', async () => {
    const { pid } = spawnSync(process.execPath, ['-e', '']);
    writeFileSync(file, `${pid} ${hostname()}`);
    expect(await alone(folder, async () => 1)).toBe(1);
  });

  it('does not judge processes of other machines, nor a lock that names none', async () => {
    for (const holder of [`1 ${hostname()}.elsewhere`, '', 'x']) {
      writeFileSync(file, holder);
      await expect(alone(folder, async () => 1), holder).rejects.toMatchObject({ code: 'E703' });
    }
    rmSync(file);
  });
});
