/** `npm run data -w @bitloom/example-shapes -- --out DIR`: draws calib.npz and test.npz. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { Rng, writeNpz } from '@bitloom/tensor';
import { drawSamples } from './draw.js';

/** Seeds of their own: neither set was seen in training. */
const SETS = [
  { file: 'calib.npz', count: 512, seed: 1001 },
  { file: 'test.npz', count: 2000, seed: 1002 },
];

const { values } = parseArgs({ options: { out: { type: 'string', default: fileURLToPath(new URL('../../../.cache/shapes', import.meta.url)) } } });
mkdirSync(values.out, { recursive: true });
for (const { file, count, seed } of SETS) {
  const { image, labels } = drawSamples(count, new Rng(seed));
  writeFileSync(join(values.out, file), writeNpz(new Map([['image', image], ['labels', labels]])));
  console.log(`${join(values.out, file)}: ${count} images`);
}
