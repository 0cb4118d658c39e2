import { describe, expect, test } from 'vitest';
import { bitList, integer, meant, number, pair } from './flags.js';
import { progressLine } from './progress.js';
import { bytes, si, table } from './tables.js';

describe('flags', () => {
  test('numbers', () => {
    expect(['1', '-.5', '1e-3', '1/255', '+2'].map((t) => number('--scale', t))).toEqual([1, -0.5, 0.001, 1 / 255, 2]);
    for (const t of ['', 'x', '1/2/3', '0x10', 'Infinity', '1,5']) expect(() => number('--scale', t)).toThrow('--scale');
    expect(integer('--seed', '-3')).toBe(-3);
    for (const t of ['1.0', '1e3', '', '99999999999999999999']) expect(() => integer('--seed', t)).toThrow('--seed');
  });

  test('lists and pairs', () => {
    expect(bitList('--weights', '2,3, 8')).toEqual([2, 3, 8]);
    expect(pair('--define', '/a=b/N=8')).toEqual(['/a=b/N', '8']);
    for (const t of ['=8', 'N=', 'N']) expect(() => pair('--define', t)).toThrow('--define');
  });

  test('near misses', () => {
    expect(meant('wsam', ['wasm', 'c'])).toBe('did you mean wasm?');
    expect(meant('anything', ['wasm', 'c'])).toBeUndefined();
  });
});

describe('tables', () => {
  test('numbers to the right, text to the left', () => expect(table(['name', 'MACs'], [['a', '5'], ['long', '12.50 k']])).toBe('name     MACs\na           5\nlong  12.50 k'));
  test('prefixes', () => expect([si(0), si(999), si(40_550_000), bytes(1000), bytes(123456)]).toEqual(['0', '999', '40.55 M', '1.000 kB', '123.5 kB']));
});

describe('progress', () => {
  const at = (tty: boolean): { lines: string[]; tick: (ms: number, done: number) => void } => {
    let now = 0;
    const lines: string[] = [];
    const p = progressLine((t) => void lines.push(t), tty, () => now);
    return { lines, tick: (ms, done) => ((now = ms), p.update('ranges', done, 100)) };
  };

  test('plain lines, seldom, with the time left', () => {
    const { lines, tick } = at(false);
    for (let i = 0; i <= 100; i++) tick(i * 200, i);
    expect(lines).toEqual(['ranges  25/100, 15 s left\n', 'ranges  50/100, 10 s left\n', 'ranges  75/100, 5 s left\n']);
  });

  test('one line on a terminal, gone at the end', () => {
    const { lines, tick } = at(true);
    for (let i = 0; i <= 100; i++) tick(i * 50, i);
    expect(lines[0]).toBe('\r\x1b[Kranges  2/100, 5 s left');
    expect(lines.at(-1)).toBe('\r\x1b[K');
    expect(lines.join('')).not.toContain('\n');
  });
});
