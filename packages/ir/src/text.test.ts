import { BitloomError } from '@bitloom/diagnostics';
import { tensorOf } from '@bitloom/tensor';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Precision } from './graph.js';
import { anyGraph, builder, ops } from './ops.test.fixtures.js';
import { parseGraph } from './parse.js';
import { printGraph } from './print.js';
import { verifyGraph } from './verify.js';

const failure = (f: () => unknown): { code: string; message: string } => {
  try {
    f();
  } catch (error) {
    if (error instanceof BitloomError) return { code: error.code, message: error.message };
    throw error;
  }
  throw new Error('nothing was thrown');
};

const calibrated = (bits: 4 | 8, signed: boolean, scale: number[], zero: number[]): Precision => ({
  state: 'calibrated', params: { scheme: { bits, signed, axis: signed ? 0 : null }, scale: Float32Array.from(scale), zeroPoint: Int32Array.from(zero) },
});

describe('text form', () => {
  it('reads as documented', () => {
    const b = builder('lenet', 'calibrated');
    const x = b.input('input:0', { dtype: 'f32', shape: [2] }, calibrated(8, false, [0.02], [3]));
    const w = b.const(tensorOf('f32', [2], [1, -0.1]), 'w', calibrated(4, true, [0.5, 0.25], [0, 0]));
    const big = b.const(tensorOf('i64', [3, 3], [1, 2, 3, 4, 5, 6, 7, 8, 9]), 'big');
    b.origin = '/conv1/Add';
    const y = b.add('add', [x, w], { pads: [1, -0], mode: 'same', low: -Infinity, on: true, none: null, deep: { a: [] } }, { names: ['y'] });
    const [l, r] = b.addMany('halves', [y], {}, { names: ['l', 'r'], origin: '' });
    const { text, resources } = printGraph(b.build([l, r, big]));
    expect(text).toMatchInlineSnapshot(`
      "graph lenet calibrated(%input_0 "input:0": f32[2] calibrated u8 tensor s=0.02 z=3) {
        %w = const dense<[1,-0.1]> : f32[2] calibrated i4 axis=0 s=[0.5,0.25]
        %big = const @big : i64[3,3]
        %y = add %input_0, %w {pads=[1,-0], mode="same", low=-inf, on=true, none=null, deep={a=[]}} : f32[2] from "/conv1/Add"
        %l, %r = halves %y : f32[1], f32[1]
        return %l, %r, %big
      }
      "
    `);
    expect([...resources.keys()]).toEqual(['big']);
  });

  it('prints candidates and chosen schemes', () => {
    const b = builder('g', 'candidates');
    const s = (bits: 2 | 8, axis: number | null) => ({ bits, signed: axis !== null, axis });
    b.input('a', { dtype: 'f32', shape: [] }, { state: 'candidates', schemes: [s(2, null), s(8, null)] });
    b.input('b', { dtype: 'f32', shape: [1] }, { state: 'candidates', schemes: [s(2, 0), s(8, null)] });
    b.input('c', { dtype: 'f32', shape: [1] }, { state: 'chosen', scheme: s(8, 0) });
    const g = b.build([]);
    const { text } = printGraph(g);
    expect(text.split('\n')[0]).toBe('graph g candidates(%a: f32[] candidates {u2 u8} tensor, %b: f32[1] candidates {i2 axis=0 u8 tensor}, %c: f32[1] chosen i8 axis=0) {');
    expect(parseGraph(text, ops)).toEqual(g);
  });

  it('parse ∘ print is the identity, and so is print ∘ parse', () => {
    fc.assert(fc.property(anyGraph, (g) => {
      verifyGraph(g, ops);
      const { text, resources } = printGraph(g);
      const back = parseGraph(text, ops, resources);
      expect(back).toStrictEqual(g);
      expect([...back.values.keys()]).toEqual([...g.values.keys()]);
      expect(printGraph(back)).toEqual({ text, resources });
    }), { numRuns: 150 });
  });

  it('infers types that are left out, and skips comments', () => {
    const g = parseGraph('graph g(%x: f32[4]) { // input\n %a, %b = halves %x %c = add %a, %b // sum\n return %c }', ops);
    expect(g.values.get('c')!.type).toEqual({ dtype: 'f32', shape: [2] });
  });
});

describe('malformed text', () => {
  const inBody = (body: string): string => `graph g(%x: f32[4]) {\n${body}\n}`;
  it.each([
    ['', 'line 1, column 1: expected graph'],
    ['graph g', 'line 1, column 8: expected ('],
    ['graph g later() {', 'line 1, column 9: unknown phase'],
    ['graph g(%x: f31[1]) {', 'line 1, column 13: unknown element type'],
    ['graph g(%x: f32[1.5]) {', 'line 1, column 17: expected a natural number'],
    ['graph g(%x: f32[99999999,99999]) {', 'line 1, column 13: tensor too large'],
    ['graph g(%x: f32[1], %x: f32[1]) {', 'line 1, column 21: %x is defined twice'],
    [inBody('  %y = unary %z\n  return %y'), 'line 2, column 14: %z is not defined here'],
    [inBody('  %y = dance %x\n  return %y'), 'line 2, column 8: unknown operation dance'],
    [inBody('  %y = add %x : f32[4]\n  return %y'), 'line 2, column 8: add takes 2 operands'],
    [inBody('  %y = unary %x : f32[5]\n  return %y'), 'line 2, column 19: type of %y is not what unary gives'],
    [inBody('  %y = halves %x\n  return %y'), 'line 2, column 8: halves has 2 results'],
    [inBody('  %y = unary %x {a=1, a=2}\n  return %y'), 'line 2, column 23: attribute a is given twice'],
    [inBody(`  %y = unary %x {a=${'['.repeat(70)}`), 'line 2, column 85: attribute nested too deeply'],
    [inBody('  %y = unary %x {a="\\q"}'), 'line 2, column 20: malformed string'],
    [inBody('  %y = unary %x {a=;}'), 'line 2, column 20: unexpected character'],
    [inBody('  %c = const dense<[1,2]> : f32[3]'), 'line 2, column 14: tensor data does not fit its type'],
    [inBody('  %c = const dense<[300]> : u8[1]'), 'line 2, column 21: out of range for u8'],
    [inBody('  %c = const dense<[1.5]> : i64[1]'), 'line 2, column 21: expected an integer for i64'],
    [inBody('  %c = const @w : f32[3]'), 'line 2, column 14: there is no resource @w'],
    [inBody('  %y = unary %x : f32[4] chosen i9 tensor'), 'line 2, column 33: malformed scheme'],
    [inBody('  %y = unary %x'), 'line 3, column 1: expected a value'],
    [inBody('  return %x\n}'), 'line 4, column 1: expected end of text'],
  ])('%j', (text, message) => {
    expect(failure(() => parseGraph(text, ops))).toEqual({ code: 'E401', message });
  });

  it('never throws anything but E401', () => {
    const pieces = fc.constantFrom('graph', 'g', '(', ')', '{', '}', '[', ']', '<', '>', ':', ',', '=', '%x', '%y', '@w', 'f32', 'const', 'dense', 'add', 'unary', 'halves',
      'return', 'from', '"s"', '1', '-1', '1e999', 'inf', 'nan', 'candidates', 'chosen', 'calibrated', 'i4', 'axis', 'tensor', 's', 'z', 'null', '\n', '//', '"');
    const attempt = (text: string): void => {
      try {
        parseGraph(text, ops);
      } catch (error) {
        expect(error).toBeInstanceOf(BitloomError);
        expect((error as BitloomError).code).toBe('E401');
        expect((error as BitloomError).message).toMatch(/^line \d+, column \d+: /);
      }
    };
    fc.assert(fc.property(fc.array(pieces, { maxLength: 30 }), (p) => attempt(p.join(' '))), { numRuns: 300 });
    // Texts that were valid until one token was dropped, doubled or replaced.
    fc.assert(fc.property(anyGraph, fc.nat(), fc.nat(3), pieces, (g, at, how, piece) => {
      const words = printGraph(g).text.split(/(?=[^A-Za-z0-9_.%@])|(?<=[^A-Za-z0-9_.%@])/);
      const i = at % words.length;
      words.splice(i, how === 0 ? 1 : 0, ...(how === 1 ? [words[i]] : how === 2 ? [piece] : []));
      attempt(words.join(''));
    }), { numRuns: 300 });
  });
});
