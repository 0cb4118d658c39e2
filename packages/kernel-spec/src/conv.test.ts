import { describe, expect, it } from 'vitest';
import { type Bits, clampTo, codeRange, requantize } from '@bitloom/numerics';
import { Rng } from '@bitloom/tensor';
import { type ConvParams, convK, convReference } from './index.js';

const between = (rng: Rng, lo: number, hi: number): number => lo + rng.int(hi - lo + 1);

/** A random small geometry: ragged channels, padding on either side, strides, dilations, groups, windows that miss the input. */
function geometry(rng: Rng): Omit<ConvParams, 'kind' | 'weightBits' | 'activationBits' | 'xZero' | 'output' | 'lo' | 'hi'> {
  const groups = between(rng, 1, 3);
  const [kH, kW, strideH, strideW, dilH, dilW] = [3, 3, 3, 2, 2, 3].map((hi) => between(rng, 1, hi));
  const [inH, inW] = [between(rng, 1, 6), between(rng, 1, 6)];
  return {
    batch: between(rng, 1, 2), inH, inW, inC: groups * between(rng, 1, 5),
    outH: between(rng, 1, 4), outW: between(rng, 1, 4), outC: groups * between(rng, 1, 6),
    kH, kW, strideH, strideW, dilH, dilW, padT: rng.int(4), padL: rng.int(4), groups,
  };
}

/** acc[n][oh][ow][o] straight from the definition, over all taps that exist. */
function sums(p: ConvParams, x: ArrayLike<number>, w: ArrayLike<number>, add: (acc: number, w: number, x: number) => number): number[] {
  const out: number[] = [];
  const cg = p.inC / p.groups;
  for (let i = 0; i < p.batch * p.outH * p.outW * p.outC; i++) {
    const o = i % p.outC;
    const ow = Math.floor(i / p.outC) % p.outW;
    const oh = Math.floor(i / p.outC / p.outW) % p.outH;
    const n = Math.floor(i / p.outC / p.outW / p.outH);
    let acc = 0;
    for (let t = 0; t < convK(p); t++) {
      const [kh, kw, c] = [Math.floor(t / cg / p.kW), Math.floor(t / cg) % p.kW, t % cg];
      const [ih, iw] = [oh * p.strideH + kh * p.dilH - p.padT, ow * p.strideW + kw * p.dilW - p.padL];
      if (ih < 0 || iw < 0 || ih >= p.inH || iw >= p.inW) continue;
      const channel = Math.floor(o / (p.outC / p.groups)) * cg + c;
      acc = add(acc, w[o * convK(p) + t], x[((n * p.inH + ih) * p.inW + iw) * p.inC + channel]);
    }
    out.push(acc);
  }
  return out;
}

const sizes = (p: ConvParams): { x: number; w: number; y: number } => ({
  x: p.batch * p.inH * p.inW * p.inC,
  w: p.outC * convK(p),
  y: p.batch * p.outH * p.outW * p.outC,
});

describe('convReference', () => {
  it('equals the definition on random geometry for all 64 bit pairs, both outputs', () => {
    const rng = new Rng(11);
    for (let round = 0; round < 256; round++) {
      const [weightBits, activationBits] = [((round & 7) + 1) as Bits, (((round >> 3) & 7) + 1) as Bits];
      const codes = codeRange({ bits: activationBits, signed: false, axis: null });
      const values = codeRange({ bits: weightBits, signed: true, axis: 0 });
      const output = round & 64 ? 'codes' : 'f32';
      const p: ConvParams = {
        ...geometry(rng), kind: 'int', weightBits, activationBits, xZero: rng.int(codes.hi + 1), output,
        lo: output === 'codes' ? rng.int(4) : -Infinity, hi: output === 'codes' ? between(rng, 4, 255) : 20,
      };
      const n = sizes(p);
      const x = Uint8Array.from({ length: n.x }, () => rng.int(codes.hi + 1));
      const w = Int8Array.from({ length: n.w }, () => (weightBits === 1 ? 2 * rng.int(2) - 1 : between(rng, values.lo, values.hi)));
      const multiplier = Float32Array.from({ length: p.outC }, () => rng.uniform() / 8);
      const offset = Float32Array.from({ length: p.outC }, () => rng.normal() * 9);
      const y = output === 'codes' ? new Uint8Array(n.y) : new Float32Array(n.y);
      convReference(p, [x, w, multiplier, offset], y);
      const acc = sums(p, x, w, (a, wv, xv) => a + wv * (xv - p.xZero));
      const want = acc.map((a, i) => {
        const [m, b] = [multiplier[i % p.outC], offset[i % p.outC]];
        return output === 'codes' ? requantize(a, m, b, p.lo, p.hi) : clampTo(Math.fround(Math.fround(a * m) + b), p.lo, p.hi);
      });
      expect([...y], JSON.stringify(p)).toEqual(want);
    }
  });

  it('sums floats in the documented order, each step rounded', () => {
    const rng = new Rng(12);
    let orderMatters = false;
    for (let round = 0; round < 100; round++) {
      const p: ConvParams = {
        ...geometry(rng), kind: 'f32', weightBits: null, activationBits: null, xZero: 0, output: 'f32',
        lo: round & 1 ? 0 : -Infinity, hi: round & 2 ? 6 : Infinity,
      };
      const n = sizes(p);
      const normal = (length: number): Float32Array => Float32Array.from({ length }, () => rng.normal());
      const [x, w, bias, y] = [normal(n.x), normal(n.w), normal(p.outC), new Float32Array(n.y)];
      if (round % 4 === 0) w[rng.int(n.w)] = Infinity; // no product with padding
      convReference(p, [x, w, bias], y);
      const finish = (acc: number[]): number[] => acc.map((a, i) => clampTo(Math.fround(a + bias[i % p.outC]), p.lo, p.hi));
      expect([...y]).toEqual(finish(sums(p, x, w, (a, wv, xv) => Math.fround(a + Math.fround(wv * xv)))));
      orderMatters ||= finish(sums(p, x, w, (a, wv, xv) => Math.fround(a + wv * xv))).some((v, i) => v !== y[i]);
    }
    expect(orderMatters).toBe(true);
  });
});
