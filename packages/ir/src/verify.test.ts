import { BitloomError } from '@bitloom/diagnostics';
import { tensorOf } from '@bitloom/tensor';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Graph, Precision, Value } from './graph.js';
import { anyGraph, builder, ops } from './ops.test.fixtures.js';
import { verifyGraph } from './verify.js';

const b = builder('net', 'calibrated');
const x = b.input('x', { dtype: 'f32', shape: [2, 2] }, {
  state: 'calibrated', params: { scheme: { bits: 4, signed: false, axis: null }, scale: Float32Array.of(0.5), zeroPoint: Int32Array.of(15) },
});
const weights: Precision = { state: 'calibrated', params: { scheme: { bits: 4, signed: true, axis: 0 }, scale: Float32Array.of(1, 2), zeroPoint: Int32Array.of(0, 0) } };
const w = b.const(tensorOf('f32', [2, 2], [1, 2, 3, 4]), 'w', weights);
b.origin = 'Add_1';
const y = b.add('add', [x, w]);
const g = b.build([y]);

const change = (id: string, v: Partial<Value>): Graph => ({ ...g, values: new Map([...g.values].map(([k, old]) => [k, k === id ? { ...old, ...v } : old])) });
const params = (p: object): Precision => ({ state: 'calibrated', params: { ...(weights as Extract<Precision, { state: 'calibrated' }>).params, ...p } });

const diagnostic = (broken: Graph): object => {
  try {
    verifyGraph(broken, ops, { pass: 'fold' });
  } catch (error) {
    if (error instanceof BitloomError) return error.diagnostic;
    throw error;
  }
  return {};
};

describe('verifyGraph', () => {
  it('accepts a legal graph', () => {
    expect(() => verifyGraph(g, ops)).not.toThrow();
  });

  const table: [string, Graph, object][] = [
    ['use before definition', { ...g, nodes: g.nodes.toReversed() }, { message: 'graph net is broken after fold: add uses %w before its definition', node: 'Add_1' }],
    ['two definitions', { ...g, nodes: [...g.nodes, g.nodes[0]] }, { message: expect.stringContaining('%w is defined twice') }],
    ['a missing value', { ...g, values: new Map([...g.values].filter(([id]) => id !== y)) }, { node: 'Add_1' }],
    ['a value nothing defines', { ...g, nodes: g.nodes.slice(0, 1), outputs: [x] }, { message: expect.stringContaining(`nothing defines %${y}`) }],
    ['an undefined output', { ...g, outputs: ['z'] }, { message: expect.stringContaining('output %z is not defined') }],
    ['a wrong type', change(y, { type: { dtype: 'f32', shape: [4] } }), { node: 'Add_1', found: 'f32[4]', expected: 'f32[2,2]' }],
    ['operands that do not fit', { ...g, nodes: [g.nodes[0], { ...g.nodes[1], inputs: [x] }] }, { node: 'Add_1', message: expect.stringContaining('add takes 2 operands') }],
    ['an unknown op', { ...g, nodes: [g.nodes[0], { ...g.nodes[1], op: 'dance' }] }, { node: 'Add_1' }],
    ['a precision of another phase', { ...g, phase: 'chosen' }, { node: 'x', found: 'calibrated', expected: 'float or chosen' }],
    ['unsigned weights', change(w, { precision: params({ scheme: { bits: 4, signed: false, axis: 0 } }) }), { node: 'w', found: 'u4 axis=0' }],
    ['signed activations', change(x, { precision: weights }), { node: 'x', found: 'i4 axis=0' }],
    ['too few scales', change(w, { precision: params({ scale: Float32Array.of(1) }) }), { found: '1 scales, 2 zero points', expected: '2' }],
    ['a zero scale', change(w, { precision: params({ scale: Float32Array.of(1, 0) }) }), { found: '0' }],
    ['a shifted weight', change(w, { precision: params({ zeroPoint: Int32Array.of(0, 1) }) }), { found: '1' }],
    ['a zero point outside the codes', change(x, { precision: { state: 'calibrated', params: { scheme: { bits: 2, signed: false, axis: null }, scale: Float32Array.of(1), zeroPoint: Int32Array.of(4) } } }), { found: '4', expected: '0 to 3' }],
    ['nine bits', change(x, { precision: { state: 'calibrated', params: { scheme: { bits: 9 as 8, signed: false, axis: null }, scale: Float32Array.of(1), zeroPoint: Int32Array.of(0) } } }), { found: 'u9 tensor' }],
    ['quantised integers', change(x, { type: { dtype: 'i32', shape: [2, 2] } }), { found: 'i32[2,2]' }],
  ];
  it.each(table)('refuses %s', (_, broken, expected) => {
    expect(diagnostic(broken)).toMatchObject({ code: 'E402', ...expected });
  });

  it('refuses repeated and empty candidates', () => {
    for (const bits of [[], [8, 8]] as 8[][]) {
      const c = builder('c', 'candidates');
      c.input('x', { dtype: 'f32', shape: [1] }, { state: 'candidates', schemes: bits.map((n) => ({ bits: n, signed: false, axis: null })) });
      expect(() => verifyGraph(c.build([]), ops)).toThrowError(/empty or repeat/);
    }
  });

  it('refuses random graphs after a mutation', () => {
    const mutations: ((g: Graph, pick: number) => Graph | null)[] = [
      (g, i) => (g.nodes.length ? { ...g, nodes: g.nodes.filter((_, k) => k !== i % g.nodes.length) } : null),
      (g, i) => (g.nodes.length ? { ...g, nodes: [...g.nodes, g.nodes[i % g.nodes.length]] } : null),
      (g, i) => ({ ...g, values: new Map([...g.values].filter((_, k) => k !== i % g.values.size)) }),
      (g, i) => ({ ...g, values: new Map([...g.values].map(([id, v], k) => [id, k === i % g.values.size ? { ...v, id: `${id}.x` } : v])) }),
      (g) => (g.nodes.length ? { ...g, values: new Map([...g.values].map(([id, v]) => [id, g.inputs.includes(id) ? v : { ...v, type: { ...v.type, shape: [...v.type.shape, 1] } }])) } : null),
      (g) => ({ ...g, inputs: [] }),
      (g) => ({ ...g, outputs: [...g.outputs, 'nowhere'] }),
    ];
    fc.assert(fc.property(anyGraph, fc.nat(), fc.constantFrom(...mutations), (g, pick, mutate) => {
      const broken = mutate(g, pick);
      fc.pre(broken !== null);
      expect(diagnostic(broken)).toMatchObject({ code: 'E402' });
    }), { numRuns: 200 });
  });
});
