/**
 * Accuracy of the reference network (cifar10_resnet20_jpeg) by bits after fine-tuning on all training images of the data folder (BITLOOM_DATA, default
 * ../shared/data), epoch by epoch and as a bundle, as a Markdown table:
 *
 *   node tools/finetuning.mjs [w4a4 w3a3 w2a2]
 *
 * Needs `npm start` (or `npx tsc -b`) and `node tools/unpack-data.mjs` first. 780 to 2,340 steps a row; what is ended goes on where it was. The bundle is
 * compared with its fake-quantised graph (compile --emit-qdq) on onnxruntime, decision by decision.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { model, percent, preprocessing, test, train, words } from './reference.mjs';
import { bitloom, cli, root } from './setup.mjs';

const out = join(root, '.cache', 'finetuning');
/** Epochs, and options beside them. */
const LABELS = ['--distillation', '0'];
const ROWS = { w4a4: [2, ...LABELS, '--rate', '0.002'], w3a3: [4, ...LABELS, '--rounding', 'nearest'], w2a2: [6, ...LABELS, '--rounding', 'nearest'] };
const chosen = words(Object.keys(ROWS));
const rows = chosen.length > 0 ? chosen : Object.keys(ROWS);
mkdirSync(out, { recursive: true });
const measured = ['--data', `images:${test}`];

/** Report of fine-tuning, made once. */
function finetuned(bits) {
  const report = join(out, `${bits}.json`);
  if (!existsSync(report)) {
    const args = ['finetune', model, '--precision', bits, '--data', `images:${train}`, '--eval', `images:${test}`, ...preprocessing,
      '--epochs', String(ROWS[bits][0]), ...ROWS[bits].slice(1), '--crop', '4', '--flip', '-o', join(out, `${bits}.onnx`), '--json'];
    const done = spawnSync(process.execPath, [cli, ...args], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] });
    if (done.status !== 0) process.exit(done.status ?? 1);
    writeFileSync(`${report}.making`, done.stdout);
    renameSync(`${report}.making`, report);
  }
  return JSON.parse(readFileSync(report, 'utf8'));
}

const float = bitloom('eval', model, ...measured, ...preprocessing);
const lines = rows.map((bits) => {
  const { epochs } = finetuned(bits);
  const [bundle, qdq] = [join(out, bits), join(out, `${bits}.qdq.onnx`)];
  bitloom('compile', join(out, `${bits}.onnx`), ...preprocessing, '--target', 'wasm', '--emit-qdq', qdq, '-o', bundle);
  const { top1, agreement } = bitloom('eval', bundle, ...measured, '--agree', qdq);
  const curve = Array.from({ length: 6 }, (_, i) => (i < epochs.length ? percent(100 * epochs[i].evaluated) : ''));
  return `| ${bits.toUpperCase()} | ${curve.join(' | ')} | ${percent(top1)} | ${percent(agreement)} |`;
});
console.log(`float: ${percent(float.top1)} of ${float.samples} images\n`);
console.log('| bits | epoch 1 | 2 | 3 | 4 | 5 | 6 | bundle | decides as its graph |\n|---|---:|---:|---:|---:|---:|---:|---:|---:|');
console.log(lines.join('\n'));
