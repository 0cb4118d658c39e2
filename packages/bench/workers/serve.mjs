/** What the workers share. One request a line on stdin (`load ID JSON`, `run ID N`, `profile ID N`), one line of JSON back. */
import { createInterface } from 'node:readline';

/** Runs `once` n times. @returns total, shortest and median time in ns */
export async function measure(n, once) {
  const times = new Float64Array(n);
  const start = performance.now();
  for (let i = 0; i < n; i++) {
    const t = performance.now();
    const pending = once();
    if (pending) await pending;
    times[i] = performance.now() - t;
  }
  const total = performance.now() - start;
  times.sort();
  const median = (times[(n - 1) >> 1] + times[n >> 1]) / 2;
  return { total: total * 1e6, min: times[0] * 1e6, median: median * 1e6 };
}

/** @param load makes `{ run(), profile?(n) }` of a spec */
export async function serve(load) {
  const loaded = new Map();
  const handle = async (line) => {
    const [, command, id, rest] = /^(\w+) (\S+) (.*)$/s.exec(line);
    if (command === 'load') {
      loaded.set(id, await load(JSON.parse(rest)));
      return {};
    }
    const contender = loaded.get(id);
    return command === 'profile' ? contender.profile(Number(rest)) : measure(Number(rest), contender.run);
  };
  for await (const line of createInterface({ input: process.stdin })) {
    const reply = await handle(line).catch((e) => ({ error: String(e?.message ?? e) }));
    process.stdout.write(`${JSON.stringify(reply)}\n`);
  }
}
