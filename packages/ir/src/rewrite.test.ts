import { tensorOf } from '@bitloom/tensor';
import { describe, expect, it } from 'vitest';
import { FLOAT, type Graph } from './graph.js';
import { builder, ops } from './ops.test.fixtures.js';
import { parseGraph } from './parse.js';
import { printGraph } from './print.js';
import { type Rule, deadCode, rewrite } from './rewrite.js';
import { verifyGraph } from './verify.js';

/** identity(x) = x */
const dropIdentity: Rule = { name: 'drop-identity', equation: 'identity(x) = x', ops: ['identity'], apply: (_, n) => n.inputs[0] };
/** unary(unary(x)) = unary(x), by a new node */
const collapse: Rule = {
  name: 'collapse', equation: 'u(u(x)) = u(x)', ops: ['unary'],
  apply(ctx, n) {
    const p = ctx.producerOf(n.inputs[0]);
    return p?.op === 'unary' && ctx.usedOnce(n.inputs[0]) ? ctx.add('unary', p.inputs, {}, { origin: p.origin }) : null;
  },
};

const run = (text: string, ...rules: Rule[]): string => {
  const { graph } = rewrite(parseGraph(text, ops), rules, ops);
  verifyGraph(graph, ops);
  return printGraph(graph).text;
};
const body = (lines: string): string => `graph g(%x: f32[4], %z: f32[4]) {\n${lines}\n}\n`;

describe('rewrite', () => {
  it('lets a new node take over id, name and precision of what it replaces', () => {
    const g = parseGraph(body('  %a = unary %x from "first"\n  %b "named" = unary %a from "second"\n  %c = add %b, %z\n  return %c'), ops);
    const { graph, applied } = rewrite(g, [collapse], ops);
    expect(printGraph(graph).text).toBe(body('  %b "named" = unary %x : f32[4] from "first"\n  %c = add %b, %z : f32[4]\n  return %c'));
    expect(applied).toEqual(new Map([['collapse', 1]]));
    expect(graph.values.get('b')!.precision).toBe(FLOAT);
  });

  it('redirects readers to an older value and removes what becomes unused', () => {
    expect(run(body('  %a = identity %x\n  %b = identity %a\n  %c = add %b, %a\n  return %c'), dropIdentity)).toBe(body('  %c = add %x, %x : f32[4]\n  return %c'));
  });

  it('renames an older value to a graph output, but never an input or another output', () => {
    expect(run(body('  %a = unary %x\n  %b "out" = identity %a\n  %c = add %a, %b\n  return %b, %c'), dropIdentity))
      .toBe(body('  %b "out" = unary %x : f32[4]\n  %c = add %b, %b : f32[4]\n  return %b, %c'));
    const kept = body('  %a = identity %x : f32[4]\n  %b = unary %x : f32[4]\n  %c = identity %b : f32[4]\n  return %a, %b, %c');
    expect(run(kept, dropIdentity)).toBe(kept);
  });

  it('copies where an output becomes an input', () => {
    const toInput: Rule = { name: 'to-input', equation: 'u(x) = x', ops: ['unary'], apply: (_, n) => n.inputs[0] };
    expect(run(body('  %a = unary %x\n  return %a'), toInput)).toBe(body('  %a = identity %x : f32[4]\n  return %a'));
  });

  it('leaves values that others read, and outputs, where a rule asks for single use', () => {
    for (const tail of ['%c = add %a, %b : f32[4]\n  return %c', 'return %a, %b']) {
      const text = body(`  %a = unary %x : f32[4]\n  %b = unary %a : f32[4]\n  ${tail}`);
      expect(run(text, collapse)).toBe(text);
    }
  });

  it('removes nodes a rule builds in vain, and gives new constants names', () => {
    const wasteful: Rule = {
      name: 'wasteful', equation: 'x + y = u(x + c)', ops: ['add'],
      apply(ctx, n) {
        if (ctx.constantOf(n.inputs[1])) return null;
        ctx.add('unary', n.inputs.slice(0, 1));
        return ctx.add('unary', [ctx.add('add', [n.inputs[0], ctx.const(tensorOf('f32', [4], [1, 2, 3, 4]), 'x')])]);
      },
    };
    expect(run(body('  %s = add %x, %z\n  return %s'), wasteful))
      .toBe(body('  %x.1 = const dense<[1,2,3,4]> : f32[4]\n  %add = add %x, %x.1 : f32[4]\n  %s = unary %add : f32[4]\n  return %s'));
  });

  it('replaces every result of a node with several', () => {
    const swap: Rule = {
      name: 'swap', equation: 'halves(c) = …', ops: ['halves'],
      apply: (ctx) => [ctx.const(tensorOf('f32', [2], [1, 2]), 'l'), ctx.const(tensorOf('f32', [2], [3, 4]), 'r')],
    };
    expect(run(body('  %a, %b = halves %x\n  return %b'), swap)).toBe(body('  %b = const dense<[3,4]> : f32[2]\n  return %b'));
  });

  it('refuses a rule that changes types, and rules that never end', () => {
    const wrong: Rule = { name: 'wrong', equation: '', ops: ['unary'], apply: (ctx) => ctx.const(tensorOf('f32', [1], [1]), 'c') };
    const endless: Rule = { name: 'endless', equation: '', ops: null, apply: (ctx, n) => ctx.add('unary', n.inputs) };
    const text = body('  %a = unary %x\n  return %a');
    expect(() => run(text, wrong)).toThrowError(/changes the type of %a/);
    expect(() => run(text, endless)).toThrowError(/does not end/);
  });

  it('keeps values apart whose precisions differ', () => {
    const b = builder('g', 'chosen');
    const x = b.input('x', { dtype: 'f32', shape: [4] }, { state: 'chosen', scheme: { bits: 8, signed: false, axis: null } });
    const g = b.build([b.add('unary', [b.add('identity', [x])])]);
    expect(rewrite(g, [dropIdentity], ops).graph).toEqual(g);
  });

  it('is quick on large graphs', () => {
    const b = builder();
    let last = b.input('x', { dtype: 'f32', shape: [4] });
    const shared = b.const(tensorOf('f32', [4], [1, 1, 1, 1]));
    for (let i = 0; i < 5000; i++) last = b.add(i % 3 === 0 ? 'identity' : i % 3 === 1 ? 'unary' : 'add', i % 3 === 2 ? [last, shared] : [last]);
    const start = performance.now();
    const { graph, applied } = rewrite(b.build([last]), [dropIdentity, collapse], ops);
    expect(performance.now() - start).toBeLessThan(1000);
    expect(applied.get('drop-identity')).toBe(1667);
    verifyGraph(graph, ops);
  });
});

describe('deadCode', () => {
  it('removes what no output needs, but no inputs', () => {
    const g: Graph = parseGraph(body('  %c = const dense<[1]> : f32[1]\n  %a = unary %x : f32[4]\n  %b = unary %a : f32[4]\n  return %a'), ops);
    const h = deadCode(g);
    verifyGraph(h, ops);
    expect(printGraph(h).text).toBe(body('  %a = unary %x : f32[4]\n  return %a'));
  });
});
