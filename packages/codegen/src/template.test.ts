import { describe, expect, it } from 'vitest';
import { compileTemplate } from './index.js';

describe('templates', () => {
  it('place text as it is', () => {
    expect(compileTemplate<{ a: string; n: number }>('{{a}} {{n}};')({ a: 'if (x < 1 && y > "2")', n: 0 })).toBe('if (x < 1 && y > "2") 0;');
  });
  it('loop, branch, and see the outer view', () => {
    const render = compileTemplate<{ t: string; rows: { i: number; last: boolean }[] }>('{{#each rows}}{{../t}}{{i}}{{#unless last}},{{/unless}}{{/each}}');
    expect(render({ t: 'x', rows: [{ i: 0, last: false }, { i: 1, last: true }] })).toBe('x0,x1');
  });
  it.each(['{{missing}}', '{{#each rows}}{{missing}}{{/each}}', '{{a.missing}}'])('refuse an unknown name: %s', (source) => {
    expect(() => compileTemplate<object>(source)({ a: {}, rows: [{}] })).toThrow(/missing/);
  });
  it.each(['{{#each missing}}{{/each}}', '{{#if missing}}a{{else}}b{{/if}}', '{{#unless missing}}{{/unless}}', '{{#with missing}}{{/with}}'])('refuse a block of an unknown name: %s', (source) => {
    expect(() => compileTemplate<object>(`\n${source}`)({})).toThrow('of an unknown name in line 2');
  });
  it('take what is false, zero or empty as such', () => {
    expect(compileTemplate<object>('{{#if f}}a{{else}}b{{/if}}{{#unless z}}c{{/unless}}{{#each e}}d{{else}}n{{/each}}')({ f: false, z: 0, e: [] })).toBe('bcn');
  });
  it('refuse unknown helpers and broken syntax', () => {
    expect(() => compileTemplate<object>('{{shout a}}')({ a: 1 })).toThrow(/shout/);
    expect(() => compileTemplate<object>('{{#each rows}}')({ rows: [] })).toThrow();
  });
});
