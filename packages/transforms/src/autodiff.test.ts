/** Gradients of whole networks against finite differences of their evaluation. */
import { type Graph, GraphBuilder, type ValueId, typeOf, verifyGraph } from '@bitloom/ir';
import { compose, createBuilder, evaluateGraph, opTable } from '@bitloom/ops';
import { Rng, type Tensor, elementCount, tensor, tensorOf, toNumbers } from '@bitloom/tensor';
import { describe, expect, it } from 'vitest';
import { addGradients, gradientGraph } from './index.js';

/** Of f32 losses, with the five-point formula, relative to Σ|∂L/∂x·v| + 1. */
const FINITE_DIFFERENCE_TOLERANCE = 1e-3;
/** Short, so that hardly a relu, clamp or maximum changes sides within it. */
const STEP = 1 / 1024;

const random = (shape: readonly number[], seed: number, size = 1): Tensor => {
  const rng = new Rng(seed);
  return tensor('f32', shape, Float32Array.from({ length: elementCount(shape) }, () => size * rng.normal()));
};

/** A network under construction: every parameter is a graph input with random contents. */
class Net {
  readonly b = createBuilder('net');
  readonly at = new Map<ValueId, Tensor>();
  input(shape: readonly number[], size = 1): ValueId {
    const id = this.b.input(`p${this.at.size}`, { dtype: 'f32', shape });
    this.at.set(id, random(shape, 100 + this.at.size, size));
    return id;
  }
  conv(x: ValueId, outs: number, kernel: number, over: object = {}): ValueId {
    const channels = this.b.shapeOf(x)[1];
    const attrs = { strides: [1, 1], dilations: [1, 1], pads: [1, 1, 1, 1], group: 1, ...over };
    const w = this.input([outs, channels / attrs.group, kernel, kernel], 1 / Math.sqrt((channels * kernel * kernel) / attrs.group));
    return this.b.add('conv', [x, w, this.input([outs], 0.1)], attrs);
  }
  /** Batch normalisation by the statistics of the batch. */
  norm(x: ValueId): ValueId {
    const { b } = this;
    const c = b.shapeOf(x)[1];
    const d = compose.sub(b, x, compose.reduceMean(b, x, [0, 2, 3], true));
    const deviation = b.add('sqrt', [compose.shift(b, compose.reduceMean(b, compose.square(b, d), [0, 2, 3], true), 1e-3)]);
    return compose.add(b, compose.mul(b, compose.div(b, d, deviation), this.input([c, 1, 1])), this.input([c, 1, 1]));
  }
  linear(x: ValueId, outs: number): ValueId {
    const ins = this.b.shapeOf(x).at(-1)!;
    return this.b.add('linear', [x, this.input([outs, ins], 1 / Math.sqrt(ins)), this.input([outs])]);
  }
  /** Mean cross-entropy of logits [n, classes]. */
  crossEntropy(z: ValueId): ValueId {
    const { b } = this;
    const [n, classes] = b.shapeOf(z);
    const labels = b.const(tensorOf('f32', [n, classes],
      Array.from({ length: n * classes }, (_, i) => Number(i % classes === Math.floor(i / classes) % classes))));
    const p = compose.mul(b, b.add('log_softmax', [z], { axis: 1 }), labels);
    return compose.scale(b, compose.reduceSum(b, p, [0, 1], false), -1 / n);
  }
  squared(y: ValueId): ValueId {
    return compose.reduceMean(this.b, compose.square(this.b, compose.shift(this.b, y, 0.3)), this.b.shapeOf(y).map((_, i) => i), false);
  }
}

const value = (g: Graph, at: ReadonlyMap<ValueId, Tensor>, of: ValueId): number => toNumbers(evaluateGraph(g, at, [of]).get(of)!)[0];

/** ∂L/∂x·v for one input by differences. */
function slope(g: Graph, at: ReadonlyMap<ValueId, Tensor>, of: ValueId, x: ValueId, v: Tensor): number {
  const moved = (k: number): number => {
    const t = at.get(x)!;
    return value(g, new Map(at).set(x, tensor('f32', t.shape,
      Float32Array.from(t.data as Float32Array, (a, i) => a + k * STEP * Number(v.data[i])))), of);
  };
  return (8 * (moved(1) - moved(-1)) - moved(2) + moved(-2)) / (12 * STEP);
}

/** Every parameter of a network, in a random direction each. */
function check(net: Net, loss: ValueId): void {
  const g = net.b.build([loss]);
  const wrt = [...net.at.keys()];
  const dg = gradientGraph(g, loss, wrt);
  verifyGraph(dg, opTable);
  const grads = evaluateGraph(dg, net.at);
  wrt.forEach((x, i) => {
    expect(typeOf(dg, dg.outputs[i])).toEqual(typeOf(g, x));
    const v = random(typeOf(g, x).shape, 500 + i, 0.5);
    const terms = toNumbers(grads.get(dg.outputs[i])!).map((d, k) => d * Number(v.data[k]));
    const analytic = terms.reduce((a, t) => a + t, 0);
    const numeric = slope(g, net.at, loss, x, v);
    const size = 1 + terms.reduce((a, t) => a + Math.abs(t), 0);
    expect(Math.abs(analytic - numeric) / size, `parameter ${i}: ${analytic}, numerically ${numeric}`).toBeLessThan(FINITE_DIFFERENCE_TOLERANCE);
  });
}

const pool = { kernel: [2, 2], strides: [2, 2], pads: [0, 0, 0, 0], dilations: [1, 1], ceilExtra: [0, 0] };

const NETWORKS: Readonly<Record<string, (n: Net) => ValueId>> = {
  'convolution, normalisation, relu, pooling, residual, cross-entropy': (n) => {
    const { b } = n;
    const stem = b.add('relu', [n.norm(n.conv(n.input([2, 3, 8, 8]), 4, 3))]);
    const inner = n.norm(n.conv(b.add('relu', [n.norm(n.conv(stem, 4, 3))]), 4, 3));
    const block = b.add('relu', [compose.add(b, stem, inner)]);
    const pooled = b.add('avg_pool', [b.add('max_pool', [block], pool)], { ...pool, countIncludePad: false });
    return n.crossEntropy(n.linear(compose.reshapeTo(b, pooled, [2, 16]), 3));
  },
  'fused clamps, strides, groups, depthwise and dilated convolutions': (n) => {
    const { b } = n;
    const a = n.conv(n.input([1, 4, 9, 7]), 6, 3, { strides: [2, 1], group: 2, activation: { min: 0, max: 2 } });
    const d = n.conv(a, 6, 3, { group: 6, dilations: [1, 2], pads: [1, 2, 1, 2], activation: { min: -1, max: Infinity } });
    return n.squared(b.add('tanh', [n.conv(d, 2, 1, { pads: [0, 0, 0, 0] })]));
  },
  'branches joined by concat, gated by sigmoid, softmax attention': (n) => {
    const { b } = n;
    const x = n.input([2, 3, 4, 4]);
    const wide = b.add('concat', [n.conv(x, 2, 1, { pads: [0, 0, 0, 0] }), n.conv(x, 3, 3), x], { axis: 1 });
    const squeezed = compose.reduceMean(b, wide, [2, 3], false);
    const gate = compose.reshapeTo(b, b.add('sigmoid', [n.linear(b.add('relu', [n.linear(squeezed, 4)]), 8)]), [2, 8, 1, 1]);
    const tokens = compose.transpose(b, compose.reshapeTo(b, compose.mul(b, wide, gate), [2, 8, 16]), [0, 2, 1]);
    const scores = b.add('softmax', [b.add('matmul', [tokens, compose.transpose(b, tokens, [0, 2, 1])])], { axis: 2 });
    return n.squared(n.linear(b.add('matmul', [scores, tokens]), 3));
  },
  'encoder and decoder: transposed convolution, resize, pad, slice': (n) => {
    const { b } = n;
    const x = n.input([1, 2, 6, 6]);
    const small = b.add('tanh', [n.conv(x, 4, 3, { strides: [2, 2] })]);
    const w = n.input([4, 3, 2, 2], 0.4);
    const up = b.add('conv_transpose', [small, w], { strides: [2, 2], dilations: [1, 1], pads: [0, 0, 0, 0], group: 1, outputPadding: [0, 0] });
    const bigger = b.add('resize', [small], {
      sizes: [1, 4, 6, 6], scales: [1, 1, 2, 2], mode: 'linear', coordinates: 'half_pixel', nearest: 'floor', cubicA: -0.75, excludeOutside: false,
      antialias: false, roi: null, extrapolation: 0,
    });
    const both = b.add('concat', [up, bigger], { axis: 1 });
    const around = b.add('pad', [both], { pads: [0, 0, 1, 0, 0, 0, 0, 2], mode: 'edge', value: 0 });
    return n.squared(compose.sliceAxis(b, around, 3, 1, 3, 2));
  },
};

describe('gradients of networks equal finite differences', () => {
  it.each(Object.entries(NETWORKS))('%s', (_, build) => {
    const net = new Net();
    check(net, build(net));
  });

  it('of a gradient: Hessian–vector products of a smooth network', () => {
    const net = new Net();
    const { b } = net;
    const h = b.add('tanh', [net.conv(net.input([2, 2, 5, 5]), 3, 3, { strides: [2, 2] })]);
    const loss = net.crossEntropy(net.linear(compose.reshapeTo(b, b.add('sigmoid', [net.norm(h)]), [2, 27]), 4));
    const wrt = [...net.at.keys()];
    const first = gradientGraph(b.build([loss]), loss, wrt);
    // L₂ = Σ ⟨∂L/∂x, v_x⟩ is a network of its own.
    const second = new Net();
    const dots = GraphBuilder.from(first, opTable);
    const parts = wrt.map((x, i) => {
      const v = dots.const(random(dots.shapeOf(x), 900 + i));
      return compose.reduceSum(dots, compose.mul(dots, first.outputs[i], v), dots.shapeOf(x).map((_, a) => a), false);
    });
    const total = parts.reduce((s, d) => compose.add(dots, s, d));
    net.at.forEach((t, id) => second.at.set(id, t));
    check(Object.assign(second, { b: dots }), total);
  });
});

describe('addGradients', () => {
  it('adds up every use of a value, also twice by one node', () => {
    const b = createBuilder('uses');
    const x = b.input('x', { dtype: 'f32', shape: [3] });
    const cube = compose.mul(b, compose.square(b, x), x);
    const y = compose.add(b, compose.add(b, cube, x),
      b.add('concat', [compose.sliceAxis(b, x, 0, 1, 2), compose.sliceAxis(b, x, 0, 0, 1)], { axis: 0 }));
    const total = compose.reduceSum(b, y, [0], false);
    const g = gradientGraph(b.build([total]), total, [x]);
    expect(toNumbers([...evaluateGraph(g, new Map([[x, tensorOf('f32', [3], [1, -2, 3])]])).values()][0])).toEqual([3 + 2, 12 + 2, 27 + 2]);
  });

  it('takes seeds on several outputs and on a value between', () => {
    const b = createBuilder('seeds');
    const x = b.input('x', { dtype: 'f32', shape: [2] });
    const y = compose.scale(b, x, 3);
    const z = compose.square(b, y);
    const w = compose.neg(b, x);
    const g = b.build([z, w]);
    const seed = (...v: number[]): ValueId => b.const(tensorOf('f32', [2], v));
    const found = addGradients(b, g, new Map([[z, seed(1, 10)], [w, seed(5, 7)], [y, seed(100, 1000)]]), [x, y, z]);
    const at = new Map([[x, tensorOf('f32', [2], [1, 2])]]);
    const results = evaluateGraph(b.build([]), at, [...found.values()].map((v) => v!));
    // ∂z/∂y = 2y = 6x
    const dy = [1 * 6 + 100, 10 * 12 + 1000];
    expect([...found.values()].map((v) => toNumbers(results.get(v!)!))).toEqual([[3 * dy[0] - 5, 3 * dy[1] - 7], dy, [1, 10]]);
  });

  it('gives several results of a node their own cotangents', () => {
    const b = createBuilder('topk');
    const x = b.input('x', { dtype: 'f32', shape: [1, 4] });
    const [values, indices] = b.addMany('topk', [x], { axis: 1, k: 2, largest: true, sorted: true });
    const weighted = compose.mul(b, values, b.const(tensorOf('f32', [1, 2], [10, 1])));
    const loss = compose.reduceSum(b, weighted, [0, 1], true);
    const g = gradientGraph(b.build([loss, indices]), loss, [x]);
    expect(toNumbers([...evaluateGraph(g, new Map([[x, tensorOf('f32', [1, 4], [1, 4, 2, 3])]])).values()][0])).toEqual([0, 10, 0, 1]);
  });

  it('null, or zeros of the right type, where nothing flows, whatever the value', () => {
    const b = createBuilder('none');
    const x = b.input('x', { dtype: 'f32', shape: [2] });
    const unused = b.input('unused', { dtype: 'f64', shape: [2, 1] });
    const stepped = compose.reduceSum(b, b.add('floor', [x]), [0], false);
    const g = b.build([stepped]);
    expect([...addGradients(b, g, new Map([[stepped, compose.scalarLike(b, x, 1)]]), [x, unused]).values()]).toEqual([null, null]);
    const zeros = evaluateGraph(gradientGraph(g, stepped, [x, unused]),
      new Map([[x, tensorOf('f32', [2], [NaN, Infinity])], [unused, tensorOf('f64', [2, 1], [1, NaN])]]));
    expect([...zeros.values()].map((t) => [t.dtype, t.shape, toNumbers(t)])).toEqual([['f32', [2], [0, 0]], ['f64', [2, 1], [0, 0]]]);
  });

  it('differentiates in double precision', () => {
    const b = createBuilder('double');
    const x = b.input('x', { dtype: 'f64', shape: [1, 1] });
    const y = compose.mul(b, compose.square(b, x), x);
    const g = gradientGraph(b.build([y]), y, [x]);
    const found = evaluateGraph(g, new Map([[x, tensorOf('f64', [1, 1], [1 + 2 ** -40])]]));
    expect(toNumbers([...found.values()][0])[0]).toBeCloseTo(3 * (1 + 2 ** -40) ** 2, 12);
  });

  it('refuses what has no gradient (E403), only where something would flow', () => {
    const b = createBuilder('refused');
    const x = b.input('x', { dtype: 'f32', shape: [2] });
    b.origin = 'best';
    const index = b.add('arg_max', [x], { axis: 0, keepdims: false, last: false });
    const picked = b.add('gather', [x, index], { axis: 0 });
    const g = b.build([index, picked]);
    const diagnostic = expect.objectContaining({ code: 'E403', node: 'best' });
    expect(() => gradientGraph(g, index, [x])).toThrowError(expect.objectContaining({ diagnostic }));
    expect(() => gradientGraph(g, x, [x])).toThrowError(expect.objectContaining({ code: 'E403' }));
    const grad = gradientGraph(g, picked, [x]);
    expect(toNumbers([...evaluateGraph(grad, new Map([[x, tensorOf('f32', [2], [1, 2])]])).values()][0])).toEqual([0, 1]);
  });
});
