import { existsSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { inspect } from './inspect.js';

const root = fileURLToPath(new URL('../../..', import.meta.url));
const models = join(resolve(root, process.env.BITLOOM_DATA || '../shared/data'), 'models');
const there = existsSync(join(models, 'models.json'));
if (!there) console.log(`skipped: no ${models}/models.json (BITLOOM_DATA names the data folder)`);

interface Entry { file: string; macs: number; sha256: string; inputs: { name: string }[]; probe_shapes: Record<string, number[]> }

describe.skipIf(!there)('inspect agrees with independent counts', () => {
  const entries: Entry[] = there ? JSON.parse(readFileSync(join(models, 'models.json'), 'utf8')) : [];
  test.each(['mnist-8', 'mnist_mlp_bn', 'cifar10_resnet20', 'mlperf_ic_resnet8', 'mlperf_kws_dscnn', 'mlperf_ad_autoencoder', 'mobilenet_v1_0.25_224', 'posenet_mobilenet_v1_050'])('%s', async (name) => {
    const entry = entries.find((e) => e.file === `${name}.onnx`)!;
    const r = await inspect(join(models, entry.file));
    expect(r).toMatchObject({ kind: 'model', name, macs: entry.macs, sha256: entry.sha256 });
    expect(r.inputs.map((p) => [p.name, p.shape])).toEqual(entry.inputs.map((i) => [i.name, entry.probe_shapes[i.name]]));
  });
});
