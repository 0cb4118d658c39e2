import { typeOf } from '@bitloom/ir';
import { exportOnnx } from '@bitloom/onnx';
import { layersOf } from '@bitloom/transforms';
import { describe, expect, it } from 'vitest';
import { LAYERS, layerMacs, mobilenetV2, repeated, resnet18 } from './models.js';

const sum = (n: readonly number[]): number => n.reduce((a, b) => a + b, 0);

describe('networks', () => {
  // As torchvision counts them, batch normalisation folded.
  it.each([
    ['ResNet-18', resnet18, 1_814_073_344, 11_678_912, 21], ['MobileNetV2', mobilenetV2, 300_774_272, 3_469_760, 53],
  ] as const)('%s has the published size', (_, make, macs, params, count) => {
    const g = make();
    const layers = layersOf(g);
    expect([layers.length, sum(layers.map((l) => l.macs)), sum(layers.map((l) => l.params))]).toEqual([count, macs, params]);
    expect(typeOf(g, g.outputs[0]).shape).toEqual([1, 1000]);
  });

  it('are the same every time', () => {
    const bytes = (): Uint8Array => exportOnnx(repeated(LAYERS['conv1x1-256@14'], 2));
    expect(Buffer.compare(bytes(), bytes())).toBe(0);
  });

  it.each(Object.entries(LAYERS))('%s is repeated as often as asked', (_, shape) => {
    for (const n of [1, 3]) {
      const layers = layersOf(repeated(shape, n));
      expect(layers.map((l) => l.macs)).toEqual(Array.from({ length: n }, () => layerMacs(shape)));
    }
  });
});
