/** One process at a time in the folder of a study. */
import { readFile, rm, writeFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { fail } from '@bitloom/diagnostics';

export const LOCK = 'study.lock';

/** Whether a process of this machine runs; one that we may not signal does. */
function runs(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch (e) {
    return (e as NodeJS.ErrnoException).code === 'EPERM';
  }
}

/**
 * Does `work` while nobody else does any in the folder, which exists. What a killed process has left locked on this machine is taken over.
 * @throws E703 while another process is at it
 */
export async function alone<T>(folder: string, work: () => Promise<T>): Promise<T> {
  const file = join(folder, LOCK);
  const own = `${process.pid} ${hostname()}`;
  const take = (): Promise<boolean> => writeFile(file, own, { flag: 'wx' }).then(() => true, (e: NodeJS.ErrnoException) => {
    if (e.code === 'EEXIST') return false;
    fail('E703', 'output cannot be written', { node: file, found: e.code, remedy: 'check the path and its permissions' }, e);
  });
  if (!(await take())) {
    const holder = await readFile(file, 'utf8').catch(() => '');
    const [pid, host] = holder.split(' ');
    const gone = host === hostname() && Number(pid) > 0 && !runs(Number(pid));
    if (gone) await rm(file, { force: true });
    if (!gone || !(await take())) {
      fail('E703', 'another run is at work there', {
        node: folder, found: holder === '' ? LOCK : `process ${pid} on ${host}`, remedy: `wait for it, or choose another -o; remove ${LOCK} there if no such process runs`,
      });
    }
  }
  try {
    return await work();
  } finally {
    await rm(file, { force: true });
  }
}
