/** What the workers share. One request a line on stdin (`load ID JSON`, `run ID N`, `profile ID N`), one line of JSON back. */
import { createInterface } from 'node:readline';

/** ms: time that passed, or, with the clock `cpu`, time that this process computed, which other processes on the machine disturb less. */
function cpu() {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}
const now = process.env.BITLOOM_BENCH_CLOCK === 'cpu' ? cpu : () => performance.now();

/** Runs `once` n times. @returns total, shortest and median time in ns */
export async function measure(n, once) {
  const times = new Float64Array(n);
  const start = now();
  for (let i = 0; i < n; i++) {
    const t = now();
    const pending = once();
    if (pending) await pending;
    times[i] = now() - t;
  }
  const total = now() - start;
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
