/** A small classifier as ONNX with data to train and to test it on, and folders as maps. */
import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Graph } from '@bitloom/ir';
import { exportOnnx } from '@bitloom/onnx';
import { createBuilder } from '@bitloom/ops';
import { Rng, type Tensor, tensor, tensorOf, writeNpz } from '@bitloom/tensor';

const random = (rng: Rng, shape: readonly number[], scale: number): Tensor =>
  tensor('f32', shape, Float32Array.from({ length: shape.reduce((a, d) => a * d, 1) }, () => Math.fround(scale * rng.normal())));

/** conv 2→4, relu, conv 4→4, relu, conv 4→4, relu, global average, linear 4→3 on [1,2,6,6]. */
function network(): Graph {
  const rng = new Rng(7);
  const b = createBuilder('tiny');
  const conv = (x: string, c: number, k: number): string =>
    b.add('relu', [b.add('conv', [x, b.const(random(rng, [k, c, 3, 3], 0.4), 'w'), b.const(random(rng, [k], 0.1), 'bias')],
      { strides: [1, 1], dilations: [1, 1], pads: [1, 1, 1, 1], group: 1, activation: null })]);
  const x = b.input('x', { dtype: 'f32', shape: [1, 2, 6, 6] });
  const features = conv(conv(conv(x, 2, 4), 4, 4), 4, 4);
  const mean = b.add('mul', [b.add('reduce_sum', [features], { axes: [2, 3], keepdims: false }), b.const(tensorOf('f32', [], [1 / 36]), 'area')]);
  return b.build([b.add('linear', [mean, b.const(random(rng, [3, 4], 0.5), 'head'), b.const(random(rng, [3], 0.1), 'headBias')], { activation: null }, { names: ['y'] })]);
}

/** Samples whose brightness tells their class. */
function samples(seed: number, n: number): Map<string, Tensor> {
  const x = random(new Rng(seed), [n, 2, 6, 6], 0.5);
  for (let i = 0; i < x.data.length; i++) (x.data as Float32Array)[i] += Math.floor(i / 72) % 3;
  return new Map([['x', x], ['labels', tensorOf('i64', [n], Array.from({ length: n }, (_, i) => i % 3))]]);
}

export interface Place {
  readonly model: string;
  readonly train: string;
  readonly test: string;
  readonly path: (name: string) => string;
  readonly dispose: () => void;
}

export function place(): Place {
  const root = mkdtempSync(join(tmpdir(), 'bitloom-study-'));
  const path = (name: string): string => join(root, name);
  writeFileSync(path('tiny.onnx'), exportOnnx(network()));
  writeFileSync(path('train.npz'), writeNpz(samples(1, 48)));
  writeFileSync(path('test.npz'), writeNpz(samples(2, 30)));
  return { model: path('tiny.onnx'), train: path('train.npz'), test: path('test.npz'), path, dispose: () => rmSync(root, { recursive: true, force: true }) };
}

/** Contents of a folder by path, without the times, which differ. */
export const contents = (folder: string): Map<string, string> =>
  new Map(readdirSync(folder, { recursive: true, withFileTypes: true }).filter((f) => f.isFile() && f.name !== 'times.json')
    .map((f) => join(f.parentPath, f.name)).sort().map((f) => [f.slice(folder.length + 1), readFileSync(f, 'latin1')]));
