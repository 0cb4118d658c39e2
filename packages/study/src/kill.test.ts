/** Studies in a process that is killed. For `npm run test:slow`. */
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { Rng } from '@bitloom/tensor';
import { afterAll, expect, it } from 'vitest';
import type { StudyConfig } from './index.js';
import { contents, place } from './tiny.test.util.js';

const temp = place();
afterAll(temp.dispose);

const ROOT = fileURLToPath(new URL('../../..', import.meta.url));
/** Runs a study from the sources, as the tests do, and prints a dot for each sign of progress. */
const CHILD = `
import { createViteServer } from 'vitest/node';
const conditions = ['@bitloom/source', 'node', 'import', 'default'];
const server = await createViteServer({
  configFile: false, root: ${JSON.stringify(ROOT)}, appType: 'custom', logLevel: 'error', server: { middlewareMode: true, hmr: false, ws: false, watch: null },
  optimizeDeps: { noDiscovery: true }, ssr: { resolve: { conditions } },
});
const { study } = await server.ssrLoadModule('/packages/study/src/index.ts');
await study(...JSON.parse(process.argv[1]), { progress: () => process.stdout.write('.') });
process.exit(0);
`;

/** Kills the study after so many dots; true where it ended before. */
function run(config: StudyConfig, dots: number): Promise<boolean> {
  const child = spawn(process.execPath, ['--input-type=module', '-e', CHILD, JSON.stringify([temp.model, config])], { cwd: ROOT, stdio: ['ignore', 'pipe', 'pipe'] });
  let [seen, errors] = [0, ''];
  child.stdout.on('data', (d: Buffer) => {
    seen += d.length;
    if (seen >= dots) child.kill('SIGKILL');
  });
  child.stderr.on('data', (d: Buffer) => void (errors += d.toString()));
  return new Promise((resolve, reject) => child.on('close', (code, signal) => (code === 0 ? resolve(true) : signal === 'SIGKILL' ? resolve(false) : reject(new Error(errors)))));
}

it.skipIf(!process.env.BITLOOM_EXHAUSTIVE)('a study that is killed again and again comes to the same bytes', { timeout: 900_000 }, async () => {
  const config = (output: string): StudyConfig => ({
    data: temp.train, eval: temp.test, weights: [2, 4, 8], activations: [4, 8], samples: 16, training: { batch: 8 }, strategies: ['ebs', 'random'], budgets: ['bops=50%'], precisions: ['w2a4'],
    strategyOptions: { ebs: { epochs: 2, batch: 8 } }, seeds: [0, 1], epochs: 2, finetuneEpochs: { ebs: 1 }, rounding: 'nearest', output: temp.path(output),
  });
  expect(await run(config('whole'), Infinity)).toBe(true);
  const rng = new Rng(3);
  let kills = 0;
  while (!(await run(config('killed'), 2 + rng.int(40 + 40 * kills)))) kills++;
  expect(kills).toBeGreaterThan(2);
  expect(existsSync(temp.path('killed/study.html'))).toBe(true);
  const [whole, killed] = [contents(temp.path('whole')), contents(temp.path('killed'))];
  expect([...killed].map(([name, text]) => [name, text === whole.get(name)])).toEqual([...whole.keys()].map((name) => [name, true]));
});
