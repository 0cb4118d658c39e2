import { BitloomError } from '@bitloom/diagnostics';
import { type Graph, GraphBuilder, type ValueId, parseGraph, printGraph, valueOf, verifyGraph } from '@bitloom/ir';
import { compose, createBuilder, evaluateGraph, opTable } from '@bitloom/ops';
import { Rng, type Tensor, elementCount, tensor, tensorOf, toNumbers } from '@bitloom/tensor';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { fuseActivation, simplify } from '../index.js';

/** Largest difference after folding, relative to the largest magnitude: some layers of f32 sums in another order. */
const FOLDING_TOLERANCE = 2e-5;

/** Runs of steps, each on the result of the one before, that rules look for. */
const MOTIFS: readonly (readonly string[])[] = [
  ['layer', 'affine'], ['layer', 'affine', 'affine', 'unary', 'affine'], ['layer', 'affine', 'clamp', 'clamp'], ['clamp', 'clamp'], ['pad', 'layer'], ['pad', 'pool'], ['clamp', 'pad', 'pool'],
  ['pad', 'pad'], ['slice', 'slice'], ['reshape', 'reshape'], ['transpose', 'transpose'], ['transpose', 'affine', 'unary', 'untranspose'], ['expand'], ['join'], ['unary', 'unary'],
];

/** Random graphs of what the rules look for, drawn from a seed: layers, affine steps, clamps, padding, pooling and movement. */
class Sampler {
  private readonly b: GraphBuilder = createBuilder('random');
  private readonly live: ValueId[];
  /** Of the last transpose. */
  private perm: readonly number[] = [];

  constructor(private readonly rng: Rng) {
    this.live = [this.b.input('x', { dtype: 'f32', shape: [1, 2, 5, 4] }), this.b.input('z', { dtype: 'f32', shape: [3, 4] })];
  }

  private pick<T>(list: readonly T[]): T {
    return list[this.rng.int(list.length)];
  }

  private chance(p: number): boolean {
    return this.rng.uniform() < p;
  }

  private data(shape: readonly number[], of?: readonly number[]): ValueId {
    const values = Float32Array.from({ length: elementCount(shape) }, () => (of ? this.pick(of) : Math.fround(this.rng.normal())));
    return this.b.const(tensor('f32', shape, values));
  }

  /** A constant that broadcasts to `shape`: a scalar, per last axis, per second axis, or of any pattern. */
  private broadcast(shape: readonly number[], of?: readonly number[]): ValueId {
    const last = shape.length - 1;
    const choice = this.pick(['scalar', 'last', 'channel', 'channel', 'channel', 'any']);
    if (choice === 'scalar' || shape.length === 0) return this.data([], of);
    if (choice === 'last') return this.data([shape[last]], of);
    if (choice === 'channel' && last >= 1) return this.data(shape.slice(1).map((d, i) => (i === 0 ? d : 1)), of);
    return this.data(shape.map((d) => (this.chance(0.5) ? d : 1)), of);
  }

  private layer(x: ValueId): ValueId {
    const { b } = this;
    const shape = b.shapeOf(x);
    if (shape.length === 0) return x;
    const n = shape.length - 2;
    if (n < 1 || n > 2 || this.chance(0.2)) {
      const k = shape.at(-1)!;
      if (shape.length >= 2 && this.chance(0.5)) return b.add('matmul', [x, this.data([k, 3])]);
      return b.add('linear', this.chance(0.5) ? [x, this.data([3, k])] : [x, this.data([3, k]), this.data([3])]);
    }
    const group = shape[1] % 2 === 0 && this.chance(0.3) ? 2 : 1;
    const all = (v: number): number[] => new Array<number>(n).fill(v);
    const transposed = this.chance(0.3);
    const kernel = shape.slice(2).map((d) => (d >= 2 && this.chance(0.5) ? 2 : 1));
    const pads = [...all(0), ...all(0)].map(() => (transposed ? 0 : this.rng.int(2)));
    const common = { strides: all(this.chance(0.3) ? 2 : 1), dilations: all(1), pads, group };
    const outs = 4;
    const weight = this.data(transposed ? [shape[1], outs / group, ...kernel] : [outs, shape[1] / group, ...kernel]);
    const inputs = this.chance(0.5) ? [x, weight] : [x, weight, this.data([outs])];
    return transposed ? b.add('conv_transpose', inputs, { ...common, outputPadding: all(0) }) : b.add('conv', inputs, common);
  }

  private pool(x: ValueId): ValueId {
    const shape = this.b.shapeOf(x);
    const n = shape.length - 2;
    if (n < 1) return x;
    const all = (v: number): number[] => new Array<number>(n).fill(v);
    const kernel = shape.slice(2).map((d) => (d >= 2 && this.chance(0.7) ? 2 : 1));
    const pads = [...kernel, ...kernel].map((k) => this.rng.int(this.chance(0.5) ? k : 1));
    const attrs = { kernel, strides: all(1), pads, dilations: all(1), ceilExtra: all(0) };
    return this.chance(0.5) ? this.b.add('max_pool', [x], attrs) : this.b.add('avg_pool', [x], { ...attrs, countIncludePad: this.chance(0.5) });
  }

  private step(kind: string, x: ValueId): ValueId {
    const { b } = this;
    const shape = b.shapeOf(x);
    const axes = shape.map((_, i) => i);
    switch (kind) {
      case 'layer':
        return this.layer(x);
      case 'affine': {
        const op = this.pick(['mul', 'add', 'sub', 'div']);
        const c = this.broadcast(shape, op === 'div' ? [2, -0.5, 3] : this.chance(0.2) ? [op === 'mul' ? 1 : 0] : undefined);
        return b.add(op, op !== 'div' && this.chance(0.3) ? [c, x] : [x, c]);
      }
      case 'clamp':
        if (this.chance(0.3)) return b.add(this.pick(['min', 'max']), [x, this.data([], [0, 1])]);
        return this.chance(0.5) ? b.add('relu', [x]) : b.add('clip', [x], { min: this.pick([-Infinity, -1, 0]), max: this.pick([1, 6, Infinity]) });
      case 'pad': {
        if (shape.length < 3) return x;
        const pads = [...axes, ...axes].map((a) => (a >= 2 ? this.rng.int(2) : 0));
        return b.add('pad', [x], { pads, mode: this.pick(['constant', 'constant', 'edge']), value: this.pick([0, 0, 1]) });
      }
      case 'pool':
        return this.pool(x);
      case 'reshape':
        return b.add('reshape', [x], { shape: this.pick([[1, elementCount(shape)], [elementCount(shape)], [...shape, 1], shape, shape.toReversed()]) });
      case 'transpose':
        return b.add('transpose', [x], { perm: (this.perm = [...this.rng.permutation(shape.length)]) });
      case 'untranspose':
        return b.add('transpose', [x], { perm: axes.map((a) => this.perm.indexOf(a)) });
      case 'slice': {
        if (shape.length > 0 && this.chance(0.3)) {
          const axis = this.rng.int(shape.length);
          const scalar = this.chance(0.5);
          return b.add('gather', [x, b.const(tensorOf('i64', scalar ? [] : [2], scalar ? [-1] : [this.rng.int(shape[axis]), this.rng.int(shape[axis])]))], { axis });
        }
        const sizes = shape.map((d) => (this.chance(0.3) ? Math.ceil(d / 2) : d));
        const flips = axes.map(() => this.chance(0.2));
        const starts = axes.map((i) => this.rng.int(shape[i] - sizes[i] + 1) + (flips[i] ? sizes[i] - 1 : 0));
        return b.add('slice', [x], { starts, steps: flips.map((f) => (f ? -1 : 1)), sizes });
      }
      case 'unary':
        if (this.chance(0.2)) return b.add('pow', [x, this.data([], [1, 2])]);
        return b.add(this.pick(['neg', 'abs', 'identity', 'sigmoid']), [x]);
      case 'join': {
        const other = this.pick(this.live);
        return b.shapeOf(other).join() === shape.join() ? b.add(this.pick(['add', 'mul']), [x, other]) : b.add('concat', [x, x], { axis: 0 });
      }
      default:
        return b.add('add', [x, b.add('expand', [b.add('slice', [x], { starts: axes.map(() => 0), steps: axes.map(() => 1), sizes: axes.map(() => 1) })], { shape })]);
    }
  }

  graph(motifs: number): Graph {
    for (let i = 0; i < motifs; i++) {
      let x = this.pick(this.chance(0.5) ? this.live.slice(0, 1) : this.live);
      for (const kind of this.pick(MOTIFS)) x = this.step(kind, x);
      // Tall towers of concatenations and padding are of no interest.
      if (elementCount(this.b.shapeOf(x)) <= 2000 && this.b.shapeOf(x).length <= 5) this.live.push(x);
    }
    const outputs = new Set(this.live.slice(2).concat(this.live.at(-1)!));
    return this.b.build([...outputs]);
  }
}

const randomInputs = (g: Graph, rng: Rng): Map<string, Tensor> =>
  new Map(g.inputs.map((i) => {
    const { shape } = valueOf(g, i).type;
    return [i, tensorOf('f32', shape, Array.from({ length: elementCount(shape) }, () => rng.normal()))];
  }));

const close = (a: readonly number[], b: readonly number[]): boolean => {
  const scale = Math.max(1, ...a.map(Math.abs));
  return a.length === b.length && a.every((v, i) => Math.abs(v - b[i]) <= FOLDING_TOLERANCE * scale);
};

const signature = (g: Graph): unknown => [...g.inputs, ...g.outputs].map((id) => ({ ...valueOf(g, id) }));

describe('simplify', () => {
  it('keeps what random graphs compute, their interface, and is idempotent', () => {
    let before = 0;
    let after = 0;
    fc.assert(fc.property(fc.integer(), fc.integer({ min: 1, max: 8 }), (seed, motifs) => {
      const rng = new Rng(seed);
      const g = new Sampler(rng).graph(motifs);
      const inputs = randomInputs(g, rng);
      const expected = evaluateGraph(g, inputs);
      const small = simplify(g);
      for (const h of [small, fuseActivation(small)]) {
        verifyGraph(h, opTable, { pass: 'simplify' });
        expect(signature(h)).toEqual(signature(g));
        const actual = evaluateGraph(h, inputs);
        for (const [id, t] of expected) {
          if (!close(toNumbers(t), toNumbers(actual.get(id)!))) expect.fail(`%${id} differs\n${printGraph(g).text}\n${printGraph(h).text}\n${toNumbers(t).slice(0, 8)}\n${toNumbers(actual.get(id)!).slice(0, 8)}`);
        }
        const { text, resources } = printGraph(h);
        expect(parseGraph(text, opTable, resources)).toEqual(h);
      }
      expect(printGraph(simplify(small)).text).toBe(printGraph(small).text);
      before += g.nodes.length;
      after += small.nodes.length;
    }), { numRuns: 100 });
    expect(after).toBeLessThan(before);
  });

  it('takes well under two seconds for thousands of nodes', () => {
    const b = createBuilder('deep');
    let x = b.input('x', { dtype: 'f32', shape: [1, 4, 2, 2] });
    for (let i = 0; i < 300; i++) {
      const w = b.const(tensorOf('f32', [4, 4, 1, 1], new Array<number>(16).fill(0.1)));
      const y = b.add('conv', [x, w], { strides: [1, 1], dilations: [1, 1], pads: [0, 0, 0, 0], group: 1 });
      const bn = compose.add(b, compose.mul(b, y, b.const(tensorOf('f32', [4, 1, 1], [1, 2, 3, 4]))), b.const(tensorOf('f32', [4, 1, 1], [1, 2, 3, 4])));
      x = compose.add(b, b.add('relu', [bn]), x);
    }
    const g = b.build([x]);
    expect(g.nodes.length).toBeGreaterThan(2000);
    const start = performance.now();
    const h = fuseActivation(simplify(g));
    expect(performance.now() - start).toBeLessThan(2000);
    expect(h.nodes.filter((n) => n.op !== 'const').map((n) => n.op).join()).toBe(new Array(300).fill('conv,add').join());
  });
});

it('text with core ops never fails but by a coded error', () => {
  fc.assert(fc.property(fc.integer(), fc.nat(), fc.nat(), fc.constantFrom('', '[', '0', '-1', '1e9', 'null', '"x"', '%x', ',', 'f32', 'relu', 'conv', 'inf'), (seed, at, length, piece) => {
    const { text, resources } = printGraph(new Sampler(new Rng(seed)).graph(6));
    const start = at % text.length;
    try {
      parseGraph(text.slice(0, start) + piece + text.slice(start + (length % 4)), opTable, resources);
    } catch (error) {
      if (!(error instanceof BitloomError)) throw error;
      expect(error.code).toBe('E401');
    }
  }), { numRuns: 150 });
});
