/** `npm run train -w @bitloom/example-shapes`: trains the network on drawn images and writes model.onnx. */
import { writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { exportOnnx } from '@bitloom/onnx';
import { createBuilder } from '@bitloom/ops';
import { Rng } from '@bitloom/tensor';
import { CHANNELS, SIZE, drawSamples } from './draw.js';
import { initialParameters, network } from './network.js';
import { createTrainer } from './training.js';

const SEED = 7;
const IMAGES = 12_000;
const EPOCHS = 20;
const BATCH = 64;
const PEAK_RATE = 0.05;
const WARM_UP = 200;

const rng = new Rng(SEED);
console.log(`drawing ${IMAGES} images`);
const data = drawSamples(IMAGES, rng);
const parameters = initialParameters(rng);
const count = [...parameters.values()].reduce((s, t) => s + t.data.length, 0);
console.log(`${count} parameters`);

const trainer = await createTrainer(parameters, BATCH);
const perEpoch = Math.floor(IMAGES / BATCH);
const steps = EPOCHS * perEpoch;
const started = performance.now();
for (let epoch = 0; epoch < EPOCHS; epoch++) {
  const order = rng.permutation(IMAGES);
  let [loss, correct] = [0, 0];
  for (let i = 0; i < perEpoch; i++) {
    const at = epoch * perEpoch + i;
    const rate = at < WARM_UP ? (PEAK_RATE * (at + 1)) / WARM_UP : (PEAK_RATE / 2) * (1 + Math.cos((Math.PI * (at - WARM_UP)) / (steps - WARM_UP)));
    const r = await trainer.step(data, order, i * BATCH, rate);
    loss += r.loss / perEpoch;
    correct += r.correct;
  }
  console.log(`epoch ${epoch + 1}/${EPOCHS}  loss ${loss.toFixed(4)}  accuracy ${((100 * correct) / (perEpoch * BATCH)).toFixed(2)} %  ${((performance.now() - started) / 1000).toFixed(0)} s`);
}
await trainer.close();

const b = createBuilder('shapes');
const image = b.input('image', { dtype: 'f32', shape: [1, CHANNELS, SIZE, SIZE] });
const logits = network(b, image, (name) => b.const(parameters.get(name)!, name));
const path = fileURLToPath(new URL('../model.onnx', import.meta.url));
writeFileSync(path, exportOnnx(b.build([logits])));
console.log(`wrote ${path}`);
