import { DTYPES, type DType, Rng } from '@bitloom/tensor';
import { describe, expect, it } from 'vitest';
import { type BinaryOp, type Expr, I32_RANGE, Ranges, type Stmt, e, runNest } from './index.js';

const N = 64;
const INPUTS: readonly DType[] = ['u8', 'i8', 'u16', 'i32', 'f32'];
const SPECIAL = [0, -0, 0.5, -0.5, 255, -131, 2 ** 22, 2 ** 22 + 0.5, 1e-45, 3e9, 3.4e38, Infinity, -Infinity, NaN];
const pick = <T>(rng: Rng, items: readonly T[]): T => items[rng.int(items.length)];
const i: Expr = { k: 'var', t: 'i32', name: 'i' };
const local = (name: string, t: 'i32' | 'f32'): Expr => ({ k: 'var', t, name });

function random(rng: Rng, t: 'i32' | 'f32', depth: number): Expr {
  const sub = (of: 'i32' | 'f32' = t): Expr => random(rng, of, depth - 1);
  if (depth === 0 || rng.int(8) === 0) {
    if (rng.int(3) === 0) return t === 'i32' ? e.i32(rng.int(600) - 300) : e.f32(Math.fround(rng.int(3) ? rng.normal() * 100 : pick(rng, SPECIAL)));
    if (rng.int(4) === 0) return local(t === 'i32' ? 'n' : 'f', t);
    const buf = t === 'f32' ? 4 : rng.int(4);
    return { k: 'load', t, buf, at: i };
  }
  if (t === 'i32') {
    const bin = (op: BinaryOp): Expr => ({ k: 'bin', t, op, a: sub(), b: sub() });
    const more = [
      (): Expr => e.shr(sub(), e.i32(rng.int(5))), (): Expr => e.cast('i32', sub('f32')), (): Expr => ({ k: 'sel', t, c: sub(), a: sub(), b: sub() }),
      (): Expr => ({ k: 'cmp', t: 'i32', of: 'i32', op: 'lt', a: sub(), b: sub() }),
    ];
    return rng.int(3) ? bin(pick(rng, ['add', 'sub', 'mul', 'div', 'rem', 'min', 'max', 'pmin', 'pmax', 'and'])) : pick(rng, more)();
  }
  if (rng.int(4) === 0) return e.cast('f32', sub('i32'));
  if (rng.int(4) === 0) return e.nearest(sub());
  return { k: 'bin', t, op: pick(rng, ['add', 'sub', 'mul', 'div', 'min', 'pmin', 'pmax', 'pmin', 'pmax']), a: sub(), b: sub() };
}

describe('Ranges', () => {
  it('hold every value of random expressions', () => {
    const rng = new Rng(3);
    let narrower = 0;
    let known = 0;
    let whole = 0;
    for (let round = 0; round < 4000; round++) {
      const data = INPUTS.map((dtype) => {
        const a = new DTYPES[dtype].array(N);
        for (let j = 0; j < N; j++) a[j] = dtype === 'f32' ? (j < SPECIAL.length ? SPECIAL[j] : rng.normal() * 10 ** rng.int(9)) : j < 2 ? [2 ** 31 - 1, -(2 ** 31)][j] : rng.u32() >> rng.int(32);
        return a;
      });
      const t = rng.int(2) ? 'i32' : 'f32';
      // A local that is set again, and in every other nest one that is not.
      const lets: Stmt[] = [{ s: 'let', name: 'n', x: e.i32(3) }, { s: 'let', name: 'f', x: e.pmax(e.f32(0), { k: 'load', t: 'f32', buf: 4, at: i }) }];
      if (round % 2) lets.push({ s: 'set', name: 'n', x: { k: 'load', t: 'i32', buf: 3, at: i } });
      const x = random(rng, t, 5);
      const operands = [...INPUTS, t].map((dtype) => ({ dtype: dtype as DType, elements: N }));
      const body: Stmt[] = [{ s: 'for', v: 'i', n: e.i32(N), body: [...lets, { s: 'store', buf: INPUTS.length, at: i, x }] }];
      const out = new DTYPES[t].array(N);
      runNest({ operands, body }, [...data, out]);
      const ranges = new Ranges(operands, body);
      const of = t === 'i32' ? ranges.int(x) : ranges.float(x);
      if (t === 'i32') narrower += Number(of!.lo > I32_RANGE.lo || of!.hi < I32_RANGE.hi);
      else [known, whole] = [known + Number(of !== null), whole + Number(ranges.whole(x))];
      for (const v of out) {
        const inside = of === null || (Number(v) >= of.lo && Number(v) <= of.hi);
        if (!inside || (t === 'f32' && ranges.whole(x) && Number.isFinite(v) && !Number.isInteger(v))) {
          throw new Error(`${v} outside ${JSON.stringify(of)} or no whole number: ${JSON.stringify(x)}`);
        }
      }
    }
    expect(narrower).toBeGreaterThan(500);
    expect(known).toBeGreaterThan(300);
    expect(whole).toBeGreaterThan(50);
  });

  it('know nothing of a name that is declared twice', () => {
    const declare = (v: number): Stmt => ({ s: 'let', name: 'n', x: e.i32(v) });
    expect(new Ranges([], [declare(1)]).int(local('n', 'i32'))).toEqual({ lo: 1, hi: 1 });
    expect(new Ranges([], [declare(1), declare(2)]).int(local('n', 'i32'))).toEqual(I32_RANGE);
  });
});
