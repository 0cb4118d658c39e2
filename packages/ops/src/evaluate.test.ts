import { describe, expect, it } from 'vitest';
import { tensorOf, toNumbers } from '@bitloom/tensor';
import { createBuilder } from './registry.js';
import { evaluateGraph } from './evaluate.js';

describe('evaluateGraph', () => {
  const b = createBuilder('g');
  const x = b.input('in', { dtype: 'f32', shape: [2, 3] });
  const y = b.add('add', [x, b.const(tensorOf('f32', [3], [1, 2, 3]))]);
  const z = b.add('relu', [b.add('reshape', [y], { shape: [6] })]);
  const g = b.build([z]);
  const data = tensorOf('f32', [2, 3], [-5, 0, 1, 2, -9, 4]);

  it('computes outputs by name or id and any intermediate value', () => {
    expect(toNumbers(evaluateGraph(g, new Map([['in', data]])).get(z)!)).toEqual([0, 2, 4, 3, 0, 7]);
    expect(toNumbers(evaluateGraph(g, new Map([[x, data]]), [y]).get(y)!)).toEqual([-4, 2, 4, 3, -7, 7]);
  });

  it('refuses missing inputs and inputs of another shape', () => {
    expect(() => evaluateGraph(g, new Map())).toThrowError(/no value for input in/);
    expect(() => evaluateGraph(g, new Map([['in', tensorOf('f32', [3], [1, 2, 3])]]))).toThrowError(/does not fit/);
  });
});

describe('opTable', () => {
  it('names the node of an unknown op, bad attributes or operands that do not fit', () => {
    const b = createBuilder('g');
    const x = b.input('x', { dtype: 'f32', shape: [2, 3] });
    const y = b.input('y', { dtype: 'f32', shape: [4] });
    b.origin = 'node_7';
    const diagnostic = (f: () => unknown): unknown => {
      try {
        return f();
      } catch (error) {
        return (error as { diagnostic: unknown }).diagnostic;
      }
    };
    expect(diagnostic(() => b.add('frobnicate', [x]))).toMatchObject({ code: 'E402', node: 'node_7' });
    expect(diagnostic(() => b.add('reshape', [x], { shape: [-1] }))).toMatchObject({ code: 'E402', node: 'node_7' });
    expect(diagnostic(() => b.add('add', [x, y]))).toMatchObject({ code: 'E204', node: 'node_7', found: 'f32[2,3], f32[4]' });
  });
});
