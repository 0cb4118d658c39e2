import { type ConvParams, convReference } from '@bitloom/kernel-spec';
import { Rng } from '@bitloom/tensor';
import { describe, expect, it } from 'vitest';
import { splitConv } from './index.js';

const base: ConvParams = {
  batch: 1, inH: 23, inW: 20, inC: 6, outH: 23, outW: 20, outC: 40, kH: 3, kW: 3, strideH: 1, strideW: 1, padT: 1, padL: 1, dilH: 1, dilW: 1, groups: 1,
  kind: 'int', weightBits: 4, activationBits: 8, xZero: 7, output: 'codes', lo: 0, hi: 255,
};
const cases: Record<string, ConvParams> = {
  'rows': base,
  'strided rows, dilated, grouped': { ...base, outH: 11, outW: 18, strideH: 2, dilW: 2, groups: 2, inC: 24 },
  'images': { ...base, batch: 3 },
  'pixels': { ...base, inC: 40, kH: 1, kW: 1, padT: 0, padL: 0 },
  'a single pixel': { ...base, inH: 1, inW: 1, outH: 1, outW: 1, inC: 900, outC: 700, kH: 1, kW: 1, padT: 0, padL: 0 },
};

describe('splitConv', () => {
  it.each(Object.entries(cases))('%s: the parts make up the whole', (name, p) => {
    const rng = new Rng(1);
    const x = Uint8Array.from({ length: p.batch * p.inH * p.inW * p.inC }, () => rng.int(256));
    const w = Int8Array.from({ length: (p.outC * p.kH * p.kW * p.inC) / p.groups }, () => rng.int(16) - 8);
    const scale = Float32Array.from({ length: p.outC }, () => 0.002);
    const offset = Float32Array.from({ length: p.outC }, () => rng.normal() + 100);
    const whole = new Uint8Array(p.batch * p.outH * p.outW * p.outC);
    convReference(p, [x, w, scale, offset], whole);
    for (const count of [1, 2, 3, 5, 64]) {
      const parts = splitConv(p, count);
      expect(parts.length).toBeLessThanOrEqual(count);
      expect(parts.length > 1).toBe(count > 1 && name !== 'a single pixel');
      const y = new Uint8Array(whole.length).fill(255);
      for (const { params: q, xOffset, yOffset } of parts) {
        convReference(q, [x.subarray(xOffset), w, scale, offset], y.subarray(yOffset, yOffset + q.batch * q.outH * q.outW * q.outC));
      }
      expect(y).toEqual(whole);
    }
  });

  it('leaves small ones whole', () => expect(splitConv({ ...base, outC: 1 }, 4)).toEqual([{ params: { ...base, outC: 1 }, xOffset: 0, yOffset: 0 }]));
});
