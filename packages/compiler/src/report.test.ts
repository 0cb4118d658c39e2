import { lowerGraph } from '@bitloom/transforms';
import { createBuilder } from '@bitloom/ops';
import { Rng } from '@bitloom/tensor';
import { describe, expect, it } from 'vitest';
import { random } from './networks.test.util.js';
import { kernelsOf, networkReport, outputKind } from './report.js';
import { costsOf, plansFor } from './targets.js';

const attrs = { strides: [1, 1], dilations: [1, 1], pads: [1, 1, 1, 1], activation: null };

describe('networkReport', () => {
  it('tells layers of one node apart, and averages over parameters and MACs', () => {
    const rng = new Rng(1);
    const b = createBuilder('twice');
    const x = b.input('x', { dtype: 'f32', shape: [1, 4, 6, 6] });
    const dense = b.add('conv', [x, b.const(random(rng, [32, 4, 3, 3]), 'w')], { ...attrs, group: 1 }, { origin: 'node' });
    const depthwise = b.add('conv', [dense, b.const(random(rng, [32, 1, 3, 3]), 'w')], { ...attrs, group: 32 }, { origin: 'node' });
    const g = b.build([depthwise]);
    const report = networkReport(g, kernelsOf(plansFor(lowerGraph(g), 'c')[0], costsOf('c', null)));
    expect(report.layers.map((l) => [l.kernel, l.params, l.macs])).toEqual([['f32', 1152, 41472], ['depthwise', 288, 10368]]);
    expect(new Set(report.layers.map((l) => l.name)).size).toBe(2);
    expect(report).toMatchObject({ bits: { weights: 32, activations: 32 }, bops: (41472 + 10368) * 1024, floatWeightBytes: 1440 * 4 });
  });
});

describe('outputKind', () => {
  const kind = (op: string | null, shape: readonly number[], axis = 1): string | null => {
    const b = createBuilder('g');
    const x = b.input('x', { dtype: 'f32', shape: [1, 8] });
    const y = b.add('reshape', [b.add('slice', [x], { starts: [0, 0], steps: [1, 1], sizes: [1, 4] })], { shape });
    return outputKind(b.build([op === null ? y : b.add(op, [y], { axis })]));
  };
  it('knows probabilities, logits, and what is neither', () => {
    expect(kind('softmax', [1, 4])).toBe('probabilities');
    expect(kind('softmax', [1, 4, 1, 1])).toBe('probabilities');
    expect(kind('log_softmax', [1, 4])).toBe('logits');
    expect(kind(null, [1, 4])).toBe('logits');
    expect(kind(null, [1, 2, 2])).toBeNull();
  });
});
