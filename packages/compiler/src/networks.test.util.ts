/** Small networks as ONNX files, and data for them. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setFlagsFromString } from 'node:v8';
import { supports } from '@bitloom/bundle';
import type { Graph, GraphBuilder, ValueId } from '@bitloom/ir';
import { exportOnnx } from '@bitloom/onnx';
import { createBuilder } from '@bitloom/ops';
import { Rng, type Tensor, tensor, tensorOf, writeNpz } from '@bitloom/tensor';
import { type CompileOptions, compileOptionsSchema } from './options.js';

/** Turns relaxed SIMD on where it is an experiment, as in Node 20, whose first compiler gets it wrong; false where there is none. */
export function enableRelaxed(): boolean {
  if (!supports(['relaxed-simd'])) for (const flag of ['--experimental-wasm-relaxed-simd', '--no-liftoff']) setFlagsFromString(flag);
  return supports(['relaxed-simd']);
}

export const random = (rng: Rng, shape: readonly number[], scale = 1): Tensor =>
  tensor('f32', shape, Float32Array.from({ length: shape.reduce((a, d) => a * d, 1) }, () => Math.fround(scale * rng.normal())));

export interface ConvShape {
  readonly channels: number;
  readonly outputs: number;
  readonly size: number;
  readonly stride?: number;
  readonly group?: number;
  readonly pads?: readonly number[];
}

/** A convolution with random weights and biases. */
export function addConv(b: GraphBuilder, rng: Rng, x: ValueId, c: ConvShape): ValueId {
  const { channels, outputs, size, stride = 1, group = 1, pads = [1, 1, 1, 1] } = c;
  const w = random(rng, [outputs, channels / group, size, size], 1 / Math.sqrt((channels / group) * size * size));
  return b.add('conv', [x, b.const(w, 'w'), b.const(random(rng, [outputs], 0.2), 'b')], { strides: [stride, stride], dilations: [1, 1], pads, group, activation: null });
}

export const addLinear = (b: GraphBuilder, rng: Rng, x: ValueId, channels: number, outputs: number, name?: string): ValueId =>
  b.add('linear', [x, b.const(random(rng, [outputs, channels], 0.5), 'w'), b.const(random(rng, [outputs], 0.1), 'b')], { activation: null }, name === undefined ? {} : { names: [name] });

/** Ragged, depthwise and strided convolutions, a residual addition, max pooling, a head of four classes; x: f32[1,3,9,9] → y. */
export function tinyNet(head: 'logits' | 'softmax' = 'logits'): Graph {
  const rng = new Rng(7);
  const b = createBuilder('tiny');
  const relu = (v: ValueId): ValueId => b.add('relu', [v], {});
  const x = b.input('x', { dtype: 'f32', shape: [1, 3, 9, 9] });
  const stem = relu(addConv(b, rng, x, { channels: 3, outputs: 6, size: 3 }));
  const depthwise = relu(addConv(b, rng, stem, { channels: 6, outputs: 6, size: 3, group: 6 }));
  const wide = addConv(b, rng, depthwise, { channels: 6, outputs: 6, size: 1, pads: [0, 0, 0, 0] });
  const sum = relu(b.add('add', [wide, stem], {}));
  const pooled = b.add('max_pool', [sum], { kernel: [2, 2], strides: [2, 2], pads: [0, 0, 0, 0], dilations: [1, 1], ceilExtra: [0, 0] });
  const last = relu(addConv(b, rng, pooled, { channels: 6, outputs: 10, size: 3, stride: 2, group: 2 }));
  const mean = b.add('mul', [b.add('reduce_sum', [last], { axes: [2, 3], keepdims: false }), b.const(tensorOf('f32', [], [1 / 4]), 'area')], {});
  const logits = addLinear(b, rng, mean, 10, 4, head === 'logits' ? 'y' : undefined);
  return b.build([head === 'logits' ? logits : b.add('softmax', [logits], { axis: 1 }, { names: ['y'] })]);
}

export interface Workplace {
  readonly root: string;
  readonly path: (name: string) => string;
  /** Writes a graph as NAME.onnx. */
  readonly model: (name: string, g: Graph) => string;
  /** Writes arrays as NAME.npz. */
  readonly data: (name: string, arrays: Readonly<Record<string, Tensor>>) => string;
  dispose(): void;
}

export function workplace(): Workplace {
  const root = mkdtempSync(join(tmpdir(), 'bitloom-compiler-'));
  const path = (name: string): string => join(root, name);
  const write = (name: string, bytes: Uint8Array): string => {
    writeFileSync(path(name), bytes);
    return path(name);
  };
  return {
    root, path,
    model: (name, g) => write(`${name}.onnx`, exportOnnx(g)),
    data: (name, arrays) => write(`${name}.npz`, writeNpz(new Map(Object.entries(arrays)))),
    dispose: () => rmSync(root, { recursive: true, force: true }),
  };
}

/** From here on C is compiled without optimisation: for tests whose subject is not what the compiler makes of it. */
export function compileQuickly(cc: string | null, temp: Workplace): void {
  if (!cc || process.platform === 'win32') return;
  const path = temp.path('cc');
  writeFileSync(path, `#!/bin/sh\nexec '${cc}' "$@" -O0\n`, { mode: 0o755 });
  process.env.CC = path;
}

/** Labelled samples of {@link tinyNet}. */
export const tinyData = (n: number): { x: Tensor; labels: Tensor } => ({ x: random(new Rng(11), [n, 3, 9, 9]), labels: tensorOf('i64', [n], Array.from({ length: n }, (_, i) => i % 4)) });

export const options = (o: Parameters<typeof compileOptionsSchema.parse>[0] & object): CompileOptions => compileOptionsSchema.parse(o);
