import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { gunzipSync } from 'node:zlib';
import { verifyGraph } from '@bitloom/ir';
import { evaluateGraph, opTable } from '@bitloom/ops';
import { type Tensor, tensorOf, toNumbers } from '@bitloom/tensor';
import { describe, expect, it } from 'vitest';
import { readOnnx } from './importer.js';
import type { ImportOptions } from './input-shapes.js';

const root = fileURLToPath(new URL('../../../', import.meta.url));
const data = process.env.BITLOOM_DATA ?? `${root}../shared/data`;
const folder = `${data}/models`;
const there = existsSync(folder);

/** Sizes that the files leave open. */
const OPTIONS: Readonly<Record<string, ImportOptions>> = {
  'silero_vad_16k_op15.onnx': { define: { sequence: 576 } },
  'superresolution_x3.onnx': { define: { H: 24, W: 16 } },
};

/** Position of the largest element in each row of the last axis. */
function argmax(t: Tensor): number[] {
  const width = t.shape[t.shape.length - 1];
  const v = toNumbers(t);
  return Array.from({ length: v.length / width }, (_, r) => {
    const row = v.slice(r * width, (r + 1) * width);
    return row.indexOf(Math.max(...row));
  });
}

describe.skipIf(!there)(`models of the data folder${there ? '' : ` (skipped: no ${folder}; set BITLOOM_DATA)`}`, () => {
  it.each(there ? readdirSync(folder).filter((f) => f.endsWith('.onnx')) : [])('imports %s', async (file) => {
    const { graph, opset } = await readOnnx(`${folder}/${file}`, OPTIONS[file]);
    expect(opset).toBeGreaterThanOrEqual(7);
    verifyGraph(graph, opTable);
    expect(graph.nodes.every((n) => n.origin !== '')).toBe(true);
    // Everything that only depends on shapes and constants is folded.
    const made = new Set(graph.nodes.filter((n) => n.op !== 'const').flatMap((n) => n.outputs));
    const open = graph.nodes.filter((n) => n.op !== 'const' && n.inputs.every((i) => !made.has(i) && !graph.inputs.includes(i)));
    expect(open).toEqual([]);
  });

  it('the first characters of mnist-8 are read rightly', async () => {
    const { graph } = await readOnnx(`${folder}/mnist-8.onnx`);
    const images = gunzipSync(readFileSync(`${data}/datasets/mnist/t10k-first6000-images-idx3-ubyte.gz`));
    const labels = gunzipSync(readFileSync(`${data}/datasets/mnist/t10k-first6000-labels-idx1-ubyte.gz`));
    const count = 40;
    const right = Array.from({ length: count }, (_, i) => {
      const x = tensorOf('f32', [1, 1, 28, 28], images.subarray(16 + i * 784, 16 + (i + 1) * 784));
      const [y] = evaluateGraph(graph, new Map([['Input3', x]])).values();
      return argmax(y)[0] === labels[8 + i];
    }).filter(Boolean).length;
    expect(right).toBeGreaterThanOrEqual(count - 1);
  });

  it('the language model continues as its authors say', async () => {
    const { graph } = await readOnnx(`${folder}/tinystories_llama_260k.onnx`);
    const start = [1, 403, 407, 261, 378, 432];
    const tokens = tensorOf('i64', [1, 64], [...start, ...new Array<number>(64 - start.length).fill(0)]);
    const [logits] = evaluateGraph(graph, new Map([['tokens', tokens]])).values();
    expect(argmax(logits).slice(0, start.length - 1)).toEqual(start.slice(1));
  });

  it('a symbolic batch reaches every output', async () => {
    const { graph } = await readOnnx(`${folder}/cifar10_resnet20.onnx`, { batch: 16 });
    expect(graph.values.get(graph.outputs[0])?.type.shape).toEqual([16, 10]);
    const fixed = await readOnnx(`${folder}/mnist-8.onnx`, { batch: 16 });
    expect(fixed.graph.values.get(fixed.graph.outputs[0])?.type.shape).toEqual([16, 10]);
  });
});
