import { createBuilder } from '@bitloom/ops';
import { tensor } from '@bitloom/tensor';
import { expect, it } from 'vitest';
import { syntheticSamples } from './search.js';

it.each([[1, 32, 64], [8, 32, 64], [1, 512, 42], [1, 1024, 10], [4, 1024, 10], [1, 4096, 8]])('random inputs for batches of %i images of %i²: %i', (batch, size, samples) => {
  const b = createBuilder('images');
  const x = b.input('x', { dtype: 'f32', shape: [batch, 1, size, size] });
  const scaled = b.add('mul', [x, b.const(tensor('f32', [1], Float32Array.of(2)))]);
  expect(syntheticSamples(b.build([b.add('relu', [scaled])]))).toBe(samples);
});
