/**
 * Accuracy of the reference network (cifar10_resnet20_jpeg) by how its bits were chosen, at the BOPs of uniform W2A2 and with 8 epochs of 10,000 training images
 * for search and fine-tuning together, over three seeds, on the images of the data folder (BITLOOM_DATA, default ../shared/data), as a Markdown table:
 *
 *   node tools/allocation.mjs [rows]       rows of: uniform mckp random ebs-det ebs-sto
 *
 * Needs `npm start` (or `npx tsc -b`) and `node tools/unpack-data.mjs` first. Some ten minutes a seed and row on two cores; what is ended goes on where it was.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { model, preprocessing, test, train, words } from './reference.mjs';
import { cli, must, root } from './setup.mjs';

const out = join(root, '.cache', 'allocation');
/** Of uniform W2A2 with ends of eight bits. */
const BOPS = 0.1888e9;
const EPOCHS = 8;
const SEARCH = 1;
const ebs = (mode) => ['--strategies', 'ebs', '--finetune-epochs', `ebs=${EPOCHS - SEARCH}`,
  ...[`epochs=${SEARCH}`, 'batch=32', 'crop=4', 'flip=true', `mode=${mode}`].flatMap((o) => ['--strategy-option', `ebs.${o}`])];
const ROWS = {
  uniform: ['--strategies', 'uniform'], mckp: ['--strategies', 'mckp'], random: ['--strategies', 'random'], 'ebs-det': ebs('det'), 'ebs-sto': ebs('sto'),
};
const chosen = words(Object.keys(ROWS));
const rows = chosen.length > 0 ? chosen : Object.keys(ROWS);
mkdirSync(out, { recursive: true });
const part = join(out, 'train-10000');
if (!existsSync(part)) must(process.execPath, [join(root, 'tools/subset.mjs'), train, part, '1000']);

const lines = rows.map((row) => {
  const folder = join(out, row);
  const args = ['study', model, '--data', `images:${part}`, '--eval', `images:${test}`, ...preprocessing,
    '--budgets', `bops=${BOPS / 1e9}G`, '--weights', '1,2,3,4,5', '--activations', '2,3,4,5', '--seeds', '0,1,2', '--epochs', String(EPOCHS), '--crop', '4', '--flip',
    ...ROWS[row], '-o', folder];
  const done = spawnSync(process.execPath, [cli, ...args], { stdio: ['ignore', 'ignore', 'inherit'] });
  if (done.status !== 0) process.exit(done.status ?? 1);
  const { summary: [s], cells: all } = JSON.parse(readFileSync(join(folder, 'study.json'), 'utf8'));
  const cells = all.filter((c) => c.status === 'done');
  if (cells.length < all.length) return `| ${row} | ${all.length - cells.length} of ${all.length} seeds have no result: ${join(folder, 'study.md')} | | |`;
  const shares = cells.map((c) => (100 * c.bops) / BOPS);
  return `| ${row} | ${cells.map((c) => c.accuracy.toFixed(2)).join(', ')} | ${s.accuracy.mean.toFixed(2)} ± ${s.accuracy.spread.toFixed(2)} | ${Math.min(...shares).toFixed(1)}–${Math.max(...shares).toFixed(1)} % |`;
});
console.log('| allocation | accuracy by seed, % | mean ± standard deviation | cost, of the budget |\n|---|---|---:|---:|');
console.log(lines.join('\n'));
