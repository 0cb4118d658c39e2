import { existsSync, readFileSync } from 'node:fs';
import { openModel } from '@bitloom/engine';
import { importOnnx } from '@bitloom/onnx';
import { Rng, tensor } from '@bitloom/tensor';
import { expect, test } from 'vitest';
import { CLASSES, drawSamples, drawShape } from './draw.js';
import { PARAMETERS, initialParameters } from './network.js';
import { countCorrect, createTrainer } from './training.js';

const MODEL = new URL('../model.onnx', import.meta.url);

test('drawing is a function of the seed, and classes differ', () => {
  expect(drawShape(3, new Rng(5))).toEqual(drawShape(3, new Rng(5)));
  const same = CLASSES.map((_, label) => drawShape(label, new Rng(5)).join());
  expect(new Set(same).size).toBe(CLASSES.length);
});

test('a few steps lower the loss', async () => {
  const rng = new Rng(1);
  const data = drawSamples(32, rng);
  const trainer = await createTrainer(initialParameters(rng), 32);
  const order = Int32Array.from({ length: 32 }, (_, i) => i);
  const losses: number[] = [];
  for (let i = 0; i < 25; i++) losses.push((await trainer.step(data, order, 0, 0.02)).loss);
  await trainer.close();
  expect(losses[0]).toBeGreaterThan(Math.log(CLASSES.length) * 0.8);
  expect(losses[losses.length - 1]).toBeLessThan(losses[0] * 0.8);
});

test('the committed model imports and is as accurate as the README says', async () => {
  expect(existsSync(MODEL)).toBe(true);
  const bytes = readFileSync(MODEL);
  const { graph } = importOnnx(new Uint8Array(bytes));
  const convolutions = graph.nodes.filter((n) => n.op === 'conv' || n.op === 'linear').map((n) => n.origin);
  expect(convolutions).toEqual(Object.keys(PARAMETERS).filter((p) => p.endsWith('.w')).map((p) => p.slice(0, -2)));
  const session = await openModel(new Uint8Array(bytes));
  const { image, labels } = drawSamples(500, new Rng(77));
  const size = image.data.length / 500;
  let correct = 0;
  for (let i = 0; i < 500; i++) {
    const x = tensor('f32', [1, ...image.shape.slice(1)], (image.data as Float32Array).slice(i * size, (i + 1) * size));
    const out = await session.run(new Map([['image', x]]));
    correct += countCorrect([...out.values()][0], [Number(labels.data[i])]);
  }
  await session.close();
  const stated = /(\d+\.\d) % of the test images/.exec(readFileSync(new URL('../README.md', import.meta.url), 'utf8'));
  expect((100 * correct) / 500).toBeGreaterThan(Number(stated![1]) - 2);
});
