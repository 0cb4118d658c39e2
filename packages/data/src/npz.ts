import { basename } from 'node:path';
import { fail } from '@bitloom/diagnostics';
import { type Tensor, isFloat, readNpz, tensor } from '@bitloom/tensor';
import { readBounded } from './files.js';
import { type Preprocessing, arrayMapping } from './preprocess.js';
import { makeSource, sha256 } from './source.js';
import type { DataSource, InputSpec } from './types.js';

const LABELS = ['labels', 'label', 'y'];

/**
 * Arrays keyed by input name, their first dimension the sample, with optional `labels` (or `label`, `y`): class indices.
 * A model with one input also takes a file with one array of any name beside the labels.
 */
export async function openNpz(path: string, inputs: readonly InputSpec[], pre: Preprocessing): Promise<DataSource> {
  const bytes = await readBounded(path);
  const arrays = readNpz(bytes);
  const taken = new Set(inputs.map((i) => i.name));
  const labelName = arrays.size > 1 ? LABELS.find((name) => arrays.has(name) && !taken.has(name)) : undefined;
  const others = [...arrays.keys()].filter((name) => name !== labelName);

  const columns = inputs.map((input) => {
    const key = arrays.has(input.name) ? input.name : inputs.length === 1 && others.length === 1 ? others[0] : undefined;
    if (key === undefined) {
      fail('E302', `no array for model input ${input.name}`, {
        node: path,
        found: [...arrays.keys()].join(', ') || 'no arrays',
        expected: inputs.map((i) => i.name).join(', '),
      });
    }
    return { input, key, array: arrays.get(key)!, map: arrayMapping(input, pre) };
  });
  if (columns.length === 0) fail('E302', 'the model has no inputs to feed', { node: path });
  const size = columns[0].array.shape[0];
  for (const { input, key, array } of columns) {
    const fits = array.shape.length === Math.max(1, input.shape.length) && array.shape.slice(1).every((d, i) => d === input.shape[i + 1]);
    if (!fits) {
      fail('E302', `array ${key} does not match model input ${input.name}`, {
        node: path,
        found: `[${array.shape.join(', ')}]`,
        expected: `[${['N', ...input.shape.slice(1)].join(', ')}]`,
        remedy: 'the first dimension counts the samples',
      });
    }
    if (array.shape[0] !== size) {
      fail('E302', 'arrays hold different numbers of samples', {
        node: path,
        found: columns.map((c) => `${c.key}: ${c.array.shape[0]}`).join(', '),
      });
    }
  }
  if (size === 0) fail('E303', 'the data set is empty', { node: path, found: '0 samples' });
  const labels = labelName === undefined ? undefined : readLabels(arrays.get(labelName)!, size, `${path}: ${labelName}`);

  return makeSource({ kind: 'npz', size, labelled: labels !== undefined, fingerprint: sha256(basename(path), '\0', bytes) }, (index) => ({
    inputs: new Map(columns.map(({ input, array, map }) => [input.name, map(row(array, index))])),
    label: labels?.[index],
  }));
}

function row(array: Tensor, index: number): Tensor {
  const n = array.data.length / array.shape[0];
  return tensor(array.dtype, array.shape.slice(1), array.data.subarray(index * n, (index + 1) * n));
}

function readLabels(array: Tensor, size: number, node: string): Int32Array {
  if (array.data.length !== size || array.shape[0] !== size || isFloat(array.dtype)) {
    fail('E302', 'labels do not match the samples', {
      node,
      found: `${array.dtype} [${array.shape.join(', ')}]`,
      expected: `integers [${size}]`,
    });
  }
  return Int32Array.from(array.data as Iterable<number | bigint>, (v) => {
    if (v < 0 || v > 0x7fffffff) fail('E302', 'a label is not a class index', { node, found: String(v), expected: '0 or more' });
    return Number(v);
  });
}
