/** A small classifier as ONNX, its data, and the command line with its output captured. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Graph } from '@bitloom/ir';
import { exportOnnx } from '@bitloom/onnx';
import { createBuilder } from '@bitloom/ops';
import { Rng, type Tensor, tensor, tensorOf, writeNpz } from '@bitloom/tensor';
import { main } from './main.js';

export interface Outcome {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

export async function bitloom(...argv: string[]): Promise<Outcome> {
  let [out, err] = ['', ''];
  const code = await main(argv, { out: (t) => void (out += t), err: (t) => void (err += t), tty: false });
  return { code, out, err };
}

/** The object that a command prints with `--json`. */
export async function json(...argv: string[]): Promise<{ code: number; value: Record<string, never> & { error?: Record<string, string | null> }; err: string }> {
  const { code, out, err } = await bitloom(...argv, '--json');
  return { code, value: JSON.parse(out), err };
}

const random = (rng: Rng, shape: readonly number[], scale: number): Tensor =>
  tensor('f32', shape, Float32Array.from({ length: shape.reduce((a, d) => a * d, 1) }, () => Math.fround(scale * rng.normal())));

/** conv 3→8, relu, conv 8→8, relu, global average, linear 8→4 on [1,3,8,8]. */
export function tinyGraph(edit: (weights: Float32Array) => void = () => {}): Graph {
  const rng = new Rng(7);
  const b = createBuilder('tiny');
  const conv = (x: string, c: number, k: number): string => {
    const w = random(rng, [k, c, 3, 3], 0.4);
    edit(w.data as Float32Array);
    const attrs = { strides: [1, 1], dilations: [1, 1], pads: [1, 1, 1, 1], group: 1, activation: null };
    return b.add('relu', [b.add('conv', [x, b.const(w, 'w'), b.const(random(rng, [k], 0.1), 'bias')], attrs)]);
  };
  const x = b.input('x', { dtype: 'f32', shape: [1, 3, 8, 8] });
  const features = conv(conv(x, 3, 8), 8, 8);
  const sum = b.add('reduce_sum', [features], { axes: [2, 3], keepdims: false });
  const mean = b.add('mul', [sum, b.const(tensorOf('f32', [], [1 / 64]), 'area')]);
  const y = b.add('linear', [mean, b.const(random(rng, [4, 8], 0.5), 'head'), b.const(random(rng, [4], 0.1), 'headBias')], { activation: null }, { names: ['y'] });
  return b.build([y]);
}

/** Folder with `model.onnx` and `data.npz` (labelled); removed by `dispose`. */
export function tinyFolder(): { path: (name: string) => string; dispose: () => void } {
  const folder = mkdtempSync(join(tmpdir(), 'bitloom-cli-'));
  const rng = new Rng(11);
  const n = 48;
  writeFileSync(join(folder, 'model.onnx'), exportOnnx(tinyGraph()));
  const labels = tensorOf('i64', [n], Array.from({ length: n }, (_, i) => i % 4));
  writeFileSync(join(folder, 'data.npz'), writeNpz(new Map([['x', random(rng, [n, 3, 8, 8], 1)], ['labels', labels]])));
  return { path: (name) => join(folder, name), dispose: () => rmSync(folder, { recursive: true, force: true }) };
}
