import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { DTYPES, type DType, Rng } from '@bitloom/tensor';
import { type Bits, type QuantParams, quantizeValue } from '@bitloom/numerics';
import { type Expr, type Nest, NestBuilder, type View, checkNest, e, runNest } from './index.js';
import { ALL_DTYPES, OPERANDS, contents, interpret, nests } from './nests.test.util.js';

type Sizes = readonly number[];
const view = (operand: number, dtype: DType, shape: Sizes, strides: Sizes, quant: View['quant'] = null): View => ({ operand, dtype, shape, strides, quant });

/** Evaluates one expression without operands. */
function value(x: Expr): number | bigint {
  const out = new DTYPES[x.t].array(1);
  runNest({ operands: [{ dtype: x.t, elements: 1 }], body: [{ s: 'store', buf: 0, at: e.i32(0), x }] }, [out]);
  return out[0];
}

describe('runNest', () => {
  it('agrees with a direct interpreter on random nests over all element types', () => {
    fc.assert(
      fc.property(nests, contents, (nest, operands) => {
        const copy = operands.map((a) => a.slice());
        runNest(nest, operands);
        interpret(nest.body, copy, OPERANDS.map((o) => o.dtype));
        ALL_DTYPES.forEach((d, i) => expect(operands[ALL_DTYPES.length + i], d).toEqual(copy[ALL_DTYPES.length + i]));
      }),
      { numRuns: 600, seed: 1 },
    );
  });

  it('has the stated semantics at the edges', () => {
    const constant = (t: 'i32' | 'i64' | 'f32' | 'f64', v: number | bigint): Expr => ({ k: 'const', t, v });
    const MIN = constant('i32', -2147483648);
    const raw = (op: 'div' | 'rem', t: 'i32' | 'i64', a: number | bigint, b: number | bigint): Expr =>
      ({ k: 'bin', t, op, a: constant(t, a), b: constant(t, b) });
    expect(value(raw('div', 'i32', -2147483648, -1))).toBe(-2147483648);
    expect(value(raw('rem', 'i32', -2147483648, -1))).toBe(0);
    expect(value(raw('div', 'i32', 5, 0))).toBe(0);
    expect(value(raw('rem', 'i32', -7, 3))).toBe(-1);
    expect(value(raw('div', 'i64', -(2n ** 63n), -1n))).toBe(-(2n ** 63n));
    expect(value(raw('rem', 'i64', 5n, 0n))).toBe(0n);
    expect(value(e.shl(e.i32(1), e.i32(33)))).toBe(2);
    expect(value(e.ushr(MIN, e.i32(31)))).toBe(1);
    expect(value(e.abs(MIN))).toBe(-2147483648);
    expect(value(e.cast('i32', e.f32(3e9)))).toBe(2147483647);
    expect(value(e.cast('i32', e.f32(NaN)))).toBe(0);
    expect(value(e.cast('i64', e.f64(-1e30)))).toBe(-(2n ** 63n));
    // 2^60 + 2^36 + 1 is just above a tie of f32, which a detour through f64 would lose.
    expect(value(e.cast('f32', e.i64((1n << 60n) + (1n << 36n) + 1n)))).toBe(2 ** 60 + 2 ** 37);
    expect(value(e.cast('f32', e.i64(-((1n << 60n) + (1n << 36n) + 1n))))).toBe(-(2 ** 60 + 2 ** 37));
    expect(value(e.min(e.f32(0), e.f32(-0)))).toBe(-0);
    expect(value(e.max(e.f32(-0), e.f32(0)))).toBe(0);
    expect(value(e.min(e.f32(NaN), e.f32(0)))).toBeNaN();
    expect(value(e.pmin(e.f32(NaN), e.f32(0)))).toBeNaN();
    expect(value(e.pmin(e.f32(0), e.f32(NaN)))).toBe(0);
    expect(value(e.nearest(e.f32(2.5)))).toBe(2);
    expect(value(e.nearest(e.f64(-0.5)))).toBe(-0);
    expect(value(e.add(e.f32(16777216), e.f32(1)))).toBe(16777216);
    expect(value(e.bits(e.f32(-0)))).toBe(-2147483648);
  });

  it('gives what constant folding gives', () => {
    const edge = fc.oneof(fc.constantFrom(0, 1, -1, 2147483647, -2147483648), fc.integer());
    fc.assert(
      fc.property(fc.constantFrom('add', 'sub', 'mul', 'div', 'rem' as const), edge, edge, (op, a, b) => {
        const raw: Expr = { k: 'bin', t: 'i32', op: op as 'add', a: e.i32(a), b: e.i32(b) };
        expect(value(e[op as 'add'](e.i32(a), e.i32(b)))).toBe(value(raw));
      }),
      { seed: 4 },
    );
    expect(e.add(e.i32(2), e.mul(e.i32(3), e.i32(4)))).toEqual(e.i32(14));
  });

  it('stops at accesses outside an operand, in either arm of a selection', () => {
    const load = (at: Expr): Expr => ({ k: 'load', t: 'i32', buf: 0, at });
    const nest = (at: Expr): Nest => ({ operands: [{ dtype: 'i32', elements: 2 }], body: [{ s: 'store', buf: 0, at: e.i32(0), x: load(at) }] });
    expect(() => runNest(nest(e.i32(2)), [new Int32Array(2)])).toThrow(/outside/);
    expect(() => runNest(nest(e.i32(-1)), [new Int32Array(2)])).toThrow(/outside/);
    const arm: Expr = { k: 'load', t: 'i32', buf: 0, at: e.i32(9) };
    const body = [{ s: 'store', buf: 0, at: e.i32(0), x: e.select(e.lt(e.f32(1), e.f32(2)), e.i32(1), arm) }] as const;
    expect(() => runNest({ operands: [{ dtype: 'i32', elements: 2 }], body }, [new Int32Array(2)])).toThrow(/outside/);
  });

  it('refuses operands that are not as declared', () => {
    const nest: Nest = { operands: [{ dtype: 'f32', elements: 2 }], body: [] };
    expect(() => runNest(nest, [])).toThrow(/number of operands/);
    expect(() => runNest(nest, [new Float32Array(3)])).toThrow(/declared/);
    expect(() => runNest(nest, [new Int32Array(2)])).toThrow(/declared/);
  });
});

describe('checkNest', () => {
  const f: Expr = e.f32(1);
  const cases: Record<string, Nest['body']> = {
    'undefined variable': [{ s: 'set', name: 'a', x: f }],
    'wrong type': [{ s: 'let', name: 'a', x: f }, { s: 'set', name: 'a', x: e.i32(1) }],
    'declared twice': [{ s: 'let', name: 'a', x: f }, { s: 'let', name: 'a', x: f }],
    'not an identifier': [{ s: 'let', name: 'a;b', x: f }],
    'unknown operand': [{ s: 'store', buf: 1, at: e.i32(0), x: f }],
    'unknown operation': [{ s: 'let', name: 'a', x: { k: 'bin', t: 'f32', op: 'xor', a: f, b: f } }],
    'unknown function': [{ s: 'let', name: 'a', x: e.call('toString', f) }],
    'wrong number of arguments': [{ s: 'let', name: 'a', x: e.call('pow', f) }],
    'does not fit': [{ s: 'let', name: 'a', x: { k: 'const', t: 'f32', v: 0.1 } }],
  };
  for (const [message, body] of Object.entries(cases)) {
    it(`refuses: ${message}`, () => expect(() => checkNest({ operands: [{ dtype: 'f32', elements: 1 }], body })).toThrow(message));
  }

  it('ends scopes with their blocks', () => {
    const inner: Nest['body'] = [{ s: 'for', v: 'i', n: e.i32(2), body: [{ s: 'let', name: 'a', x: f }] }];
    const use = (name: string, t: 'i32' | 'f32'): Nest['body'] => [...inner, { s: 'let', name: 'b', x: { k: 'var', t, name } }];
    expect(() => checkNest({ operands: [], body: use('a', 'f32') })).toThrow(/undefined/);
    expect(() => checkNest({ operands: [], body: use('i', 'i32') })).toThrow(/undefined/);
  });

  it('refuses nests that are too deep, or too large through sharing', () => {
    let x: Expr = e.f32(1);
    for (let i = 0; i < 500; i++) x = e.neg(x);
    const body = (y: Expr): Nest => ({ operands: [], body: [{ s: 'let', name: 'a', x: y }] });
    expect(() => checkNest(body(x))).toThrow(/deep/);
    x = e.f32(1);
    for (let i = 0; i < 60; i++) x = e.add(x, x);
    expect(() => checkNest(body(x))).toThrow(/large/);
  });
});

describe('elementwise', () => {
  /** A random dense layout of a shape: strides of a random order of the axes. */
  const layout = (rng: Rng, shape: readonly number[]): number[] => {
    const strides = new Array<number>(shape.length);
    let s = 1;
    for (const a of rng.permutation(shape.length)) {
      strides[a] = s;
      s *= shape[a];
    }
    return strides;
  };
  const offset = (index: readonly number[], v: View): number =>
    v.shape.reduce((at, n, a) => at + (n === 1 ? 0 : index[index.length - v.shape.length + a] * v.strides[a]), 0);

  it('equals brute force for any layouts and broadcasts', () => {
    const rng = new Rng(3);
    for (let round = 0; round < 300; round++) {
      const shape = Array.from({ length: rng.int(5) }, () => 1 + rng.int(4));
      const operandShape = (): number[] => shape.slice(rng.int(shape.length + 1)).map((n) => (rng.int(3) === 0 ? 1 : n));
      const count = (s: readonly number[]): number => s.reduce((a, b) => a * b, 1);
      const views = [operandShape(), operandShape(), shape].map((s, i) => view(i, 'f32', s, layout(rng, s)));
      const data = views.map((v) => Float32Array.from({ length: count(v.shape) }, () => rng.int(100)));
      const b = new NestBuilder(data.map((d) => ({ dtype: 'f32', elements: d.length })));
      b.elementwise(views[2], [views[0], views[1]], ([x, y]) => e.sub(x, y));
      runNest(b.build(), data);
      for (let i = 0; i < data[2].length; i++) {
        let rest = i;
        const index = shape.map(() => 0);
        for (let a = shape.length - 1; a >= 0; rest = Math.floor(rest / shape[a--])) index[a] = rest % shape[a];
        expect(data[2][offset(index, views[2])]).toBe(data[0][offset(index, views[0])] - data[1][offset(index, views[1])]);
      }
    }
  });

  it('makes one loop of contiguous operands, also with a scalar', () => {
    const b = new NestBuilder([24, 1, 24].map((elements) => ({ dtype: 'f32', elements })));
    const same = (operand: number): View => view(operand, 'f32', [2, 3, 4], [12, 1, 3]);
    b.elementwise(same(2), [same(0), view(1, 'f32', [], [])], ([x, y]) => e.add(x, y));
    const [loop] = b.build().body;
    expect(loop).toMatchObject({ s: 'for', n: { v: 24 }, body: [{ s: 'store' }] });
  });

  it('does nothing for empty tensors', () => {
    const b = new NestBuilder([{ dtype: 'f32', elements: 0 }, { dtype: 'f32', elements: 0 }]);
    b.elementwise(view(1, 'f32', [2, 0, 3], [0, 3, 1]), [view(0, 'f32', [2, 0, 3], [0, 3, 1])], ([x]) => x);
    runNest(b.build(), [new Float32Array(0), new Float32Array(0)]);
  });

  it('decodes and encodes codes as numerics does', () => {
    const scheme = { bits: 4, signed: false, axis: null } as const;
    const q = { scheme, scale: Float32Array.of(0.37), zeroPoint: Int32Array.of(5) };
    const input = Float32Array.of(-10, -1.85, -0.2, 0, 0.185, 0.5, 0.555, 3.7, 100, NaN, Infinity, -Infinity);
    const codes = new Uint8Array(input.length);
    const back = new Float32Array(input.length);
    const n = input.length;
    const b = new NestBuilder([{ dtype: 'f32', elements: n }, { dtype: 'u8', elements: n }, { dtype: 'f32', elements: n }]);
    b.elementwise(view(1, 'u8', [n], [1], q), [view(0, 'f32', [n], [1])], ([x]) => x);
    b.elementwise(view(2, 'f32', [n], [1]), [view(1, 'u8', [n], [1], q)], ([x]) => x);
    runNest(b.build(), [input, codes, back]);
    expect([...codes]).toEqual([...input].map((x) => quantizeValue(x, q.scale[0], 5, scheme)));
    expect([...back]).toEqual([...codes].map((c) => Math.fround(q.scale[0] * (c - 5))));
  });

  it('copies get what the output then holds, each at bits of its own', () => {
    const rng = new Rng(8);
    const params = (bits: Bits): QuantParams => ({ scheme: { bits, signed: false, axis: null }, scale: Float32Array.of(0.05 + rng.uniform()), zeroPoint: Int32Array.of(rng.int(2 ** bits)) });
    for (let round = 0; round < 50; round++) {
      const shape = [1 + rng.int(3), 1 + rng.int(4), 1 + rng.int(5)];
      const n = shape.reduce((a, b) => a * b, 1);
      const strides = layout(rng, shape);
      const [own, ...copied] = [8, 2, 3].map((bits) => params(bits as Bits));
      const q = round % 2 === 0 ? own : null;
      const input = Float32Array.from({ length: n }, () => 8 * rng.uniform() - 2);
      const made = (together: boolean): unknown[] => {
        const dtypes: DType[] = [q ? 'u8' : 'f32', 'u8', 'u8'];
        const data = dtypes.map((d) => new DTYPES[d].array(n));
        const b = new NestBuilder(['f32' as const, ...dtypes].map((dtype) => ({ dtype, elements: n })));
        const out = view(1, dtypes[0], shape, strides, q);
        const copies = copied.map((c, i) => view(2 + i, 'u8', shape, strides, c));
        b.elementwise(out, [view(0, 'f32', shape, strides)], ([x]) => x, together ? copies : []);
        if (!together) copies.forEach((c) => b.elementwise(c, [out], ([x]) => x));
        runNest(b.build(), [input, ...data]);
        return data;
      };
      expect(made(true)).toEqual(made(false));
    }
  });
});
