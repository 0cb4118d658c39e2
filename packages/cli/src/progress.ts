/** Progress of long steps on stderr. */
import { performance } from 'node:perf_hooks';

export interface ProgressLine {
  update(step: string, done: number, total: number): void;
  /** Removes what is on the line, before other output. */
  clear(): void;
}

/** Milliseconds between updates. */
const ON_TTY = 100;
const ELSEWHERE = 5000;

const seconds = (ms: number): string => (ms < 90_000 ? `${Math.ceil(ms / 1000)} s` : `${Math.ceil(ms / 60_000)} min`);

/** One line that changes on a terminal; elsewhere plain lines, seldom, so that logs stay short. */
export function progressLine(write: (text: string) => void, tty: boolean, clock: () => number = () => performance.now()): ProgressLine {
  let step = '';
  let started = 0;
  let shown = clock();
  let dirty = false;
  const clear = (): void => {
    if (dirty) write('\r\x1b[K');
    dirty = false;
  };
  return {
    clear,
    update(name, done, total) {
      const now = clock();
      if (name !== step) [step, started] = [name, now];
      if (done >= total) return clear();
      if (now - shown < (tty ? ON_TTY : ELSEWHERE)) return;
      shown = now;
      const left = done > 0 && now > started ? `, ${seconds(((now - started) / done) * (total - done))} left` : '';
      const line = `${name}  ${done}/${total}${left}`;
      write(tty ? `\r\x1b[K${line}` : `${line}\n`);
      dirty = tty;
    },
  };
}
