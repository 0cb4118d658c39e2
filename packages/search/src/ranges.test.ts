import { DEFAULT_CALIBRATION, activationParams, collectHistograms, mergeHistograms, observedValues, paramsForRange } from '@bitloom/calibrate';
import type { DataSource } from '@bitloom/data';
import type { Graph, ValueId } from '@bitloom/ir';
import { type QuantParams, fakeQuantize } from '@bitloom/numerics';
import { compose, createBuilder, evaluateGraph } from '@bitloom/ops';
import { Rng, type Tensor, elementCount, tensor } from '@bitloom/tensor';
import { activationScheme, gradientGraph, quantizable } from '@bitloom/transforms';
import { describe, expect, it } from 'vitest';
import { refineRanges } from './index.js';

const SAMPLES = 5;
const normal = (shape: readonly number[], seed: number): Tensor => {
  const rng = new Rng(seed);
  return tensor('f32', shape, Float32Array.from({ length: elementCount(shape) }, () => Math.fround(rng.normal())));
};
/** Small values carry the information; a few large ones (the first of twelve) do not. */
const sample = (i: number): Tensor => tensor('f32', [12], (normal([12], 40 + i).data as Float32Array).map((v, k) => (k === 0 ? 30 * Math.abs(v) : v)));
const data: DataSource = {
  kind: 'test', size: SAMPLES, labelled: true, fingerprint: '',
  async *samples(range = {}) {
    for (const i of 'length' in range ? range : [0, 1, 2, 3, 4]) yield { inputs: new Map([['x', sample(i)]]), label: 0 };
  },
};

/** One number a sample, so that the random probe of the output is a sign and squares to one. */
function network(batch: number): Graph {
  const b = createBuilder('net');
  const x = b.input('x', { dtype: 'f32', shape: [batch, 12] });
  const w = (normal([6, 12], 1).data as Float32Array).map((v, i) => (i % 12 === 0 ? v / 1000 : v));
  const flat = compose.reshapeTo(b, b.add('relu', [b.add('linear', [x, b.const(tensor('f32', [6, 12], w))])]), [batch, 2, 3]);
  return b.build([b.add('linear', [compose.reshapeTo(b, flat, [batch, 6]), b.const(normal([1, 6], 2))])]);
}

describe('refineRanges', () => {
  const params = async (g: Graph): Promise<{ chosen: Map<ValueId, QuantParams>; histograms: Awaited<ReturnType<typeof collectHistograms>> }> => {
    const histograms = await collectHistograms(g, observedValues(g), data);
    const chosen = new Map<ValueId, QuantParams>();
    for (const a of quantizable(g).groups) {
      const p = activationParams(mergeHistograms(a.values.map((v) => histograms.get(v)!)), activationScheme(3), DEFAULT_CALIBRATION);
      for (const v of a.values) chosen.set(v, p);
    }
    return { chosen, histograms };
  };

  it('takes the range of least loss under the diagonal Fisher approximation, computed here by explicit gradients', async () => {
    const g = network(2);
    const { chosen, histograms } = await params(g);
    const refined = await refineRanges({ graph: g, data, seed: 1, progress: () => {} }, chosen, histograms);
    expect([...refined.keys()]).toEqual([...chosen.keys()]);
    const one = network(1);
    const loss = (id: ValueId, p: QuantParams): number => {
      let total = 0;
      for (let n = 0; n < SAMPLES; n++) {
        const at = new Map([[one.inputs[0], tensor('f32', [1, 12], sample(n).data)]]);
        const dg = gradientGraph(one, one.outputs[0], [id]);
        const d = evaluateGraph(dg, at).get(dg.outputs[0])!;
        const a = evaluateGraph(one, at, [id]).get(id)!;
        fakeQuantize(a.data as Float32Array, a.shape, p).forEach((q, i) => (total += (Number(d.data[i]) * (q - Number(a.data[i]))) ** 2));
      }
      return total;
    };
    let better = 0;
    for (const a of quantizable(g).groups) {
      const [id] = a.values;
      expect(new Set(a.values.map((v) => refined.get(v))).size).toBe(1);
      const found = loss(id, refined.get(id)!);
      const h = mergeHistograms(a.values.map((v) => histograms.get(v)!));
      const others = [chosen.get(id)!, ...[1, 0.85, 0.7, 0.55, 0.4, 0.3, 0.2].flatMap((lo) =>
        [1, 0.85, 0.7, 0.55, 0.4, 0.3, 0.2].map((hi) => paramsForRange(h.min * lo, h.max * hi, activationScheme(3))))];
      for (const p of others) expect(found).toBeLessThanOrEqual(loss(id, p) * 1.0001);
      if (found < 0.9 * loss(id, chosen.get(id)!)) better++;
    }
    expect(better).toBeGreaterThan(0);
  });

  it('leaves alone what it is not given', async () => {
    const g = network(1);
    const { chosen, histograms } = await params(g);
    const { groups } = quantizable(g);
    const several = groups.find((a) => a.values.length > 2)!;
    const kept = several.values[1];
    const given = new Map([...chosen].filter(([id]) => id !== kept && id !== g.inputs[0]));
    const refined = await refineRanges({ graph: g, data, seed: 1, progress: () => {} }, given, histograms);
    expect([...refined.keys()].sort()).toEqual([...given.keys()].sort());
  });
});
