/** What a loop stores as bytes, in forms that need fewer operations and give the same bytes. */
import { type Expr, type Nest, Ranges, e, runNest } from '@bitloom/kernel-spec';
import { childrenOf, perNode, withChildren } from './prepare-nest.js';

/** The const that an operation on `x` has, and its other operand. */
function withConst(x: Extract<Expr, { k: 'bin' }>): { readonly c: number; readonly other: Expr } | null {
  if (x.a.k === 'const') return { c: Number(x.a.v), other: x.b };
  return x.b.k === 'const' ? { c: Number(x.b.v), other: x.a } : null;
}

/** An i32 that is a float made an integer, plus a constant. */
function codeOf(x: Expr): { readonly steps: Expr; readonly zero: number } | null {
  if (x.k === 'cast' && x.t === 'i32' && x.x.t === 'f32') return { steps: x.x, zero: 0 };
  if (x.k !== 'bin' || x.op !== 'add' || x.b.k !== 'const') return null;
  const code = codeOf(x.a);
  return code && { ...code, zero: code.zero + Number(x.b.v) };
}

/**
 * An i32 expression that, brought between 0 and 255, is `x`, which lies there: clamps that saturating stores repeat are left out
 * of what is rounded.
 */
export function saturating(x: Expr, ranges: Ranges): Expr {
  const code = codeOf(x);
  if (!code || !ranges.whole(code.steps)) return x;
  const lo = -code.zero;
  const hi = 255 - code.zero;
  // Of what is rounded and clamped to lo…hi. Rounding is monotone, and keeps lo and hi.
  const bare = (y: Expr): Expr => {
    if (y.k === 'var') {
      const definition = ranges.definition(y.name);
      if (!definition || !isOfVariables(definition, ranges)) return y;
      const z = bare(definition);
      return z === definition ? y : z;
    }
    if (y.k === 'un' && y.op === 'nearest') return bare(y.x);
    if (y.k !== 'bin') return y;
    const of = withConst(y);
    if (!of) return y;
    if (y.op === 'pmin' && of.c >= hi) return bare(of.other);
    if (y.op === 'pmax' && of.c <= lo) return bare(of.other);
    // Where the product is above lo ≥ 0, so is the factor.
    if (y.op === 'mul' && of.c > 0 && lo >= 0 && of.other.k === 'bin' && of.other.op === 'pmax') {
      const factor = withConst(of.other);
      if (factor && factor.c <= 0) return bare({ ...y, a: factor.other, b: e.f32(of.c) });
    }
    return y;
  };
  const y = bare(code.steps);
  return ranges.rounds(y) ? e.add(e.cast('i32', e.nearest(y)), e.i32(code.zero)) : x;
}

/** Whether an expression loads nothing and has no local that changes, so that it is the same wherever its locals are known. */
const isOfVariables = (x: Expr, ranges: Ranges): boolean => x.k !== 'load' && (x.k !== 'var' || ranges.definition(x.name) !== null) && childrenOf(x).every((c) => isOfVariables(c, ranges));

/** Bytes at hand, in a local: a variable's, plus `zero`, all from `lo` to `hi`. */
export interface KnownBytes {
  readonly local: string;
  readonly zero: number;
  readonly lo: number;
  readonly hi: number;
}

/** The variable that a stored byte is made of, where it can be told from the byte. */
export function madeOf(x: Expr, ranges: Ranges): { readonly name: string; readonly bytes: Omit<KnownBytes, 'local'> } | null {
  const code = codeOf(x);
  return code?.steps.k === 'var' && ranges.whole(code.steps) ? { name: code.steps.name, bytes: { zero: code.zero, ...ranges.int(x) } } : null;
}

/** Expressions of more nodes than this, counted as trees, are not tabulated. */
const LARGEST = 64;

/** A function of known bytes, as the table of what it gives for each; null where an expression depends on something else. */
export function tableOf(x: Expr, known: ReadonlyMap<string, KnownBytes>, ranges: Ranges): { readonly of: KnownBytes; readonly table: Uint8Array } | null {
  const sources = new Set<KnownBytes>();
  const size = perNode<number>((y, self) => {
    if (y.k === 'load') return Infinity;
    if (y.k !== 'var') return childrenOf(y).reduce((n, c) => n + self(c), 1);
    const bytes = known.get(y.name);
    if (bytes) sources.add(bytes);
    const definition = ranges.definition(y.name);
    return bytes ? 1 : definition ? self(definition) : Infinity;
  });
  if (size(x) > LARGEST || sources.size !== 1) return null;
  const [of] = sources;
  const i: Expr = { k: 'var', t: 'i32', name: 'i' };
  const steps = e.cast('f32', e.sub({ k: 'load', t: 'i32', buf: 0, at: i }, e.i32(of.zero)));
  const inlined = perNode<Expr>((y, self) => (y.k !== 'var' ? withChildren(y, childrenOf(y).map(self)) : known.has(y.name) ? steps : self(ranges.definition(y.name)!)));
  const bytes = { dtype: 'u8', elements: 256 } as const;
  const nest: Nest = { operands: [bytes, bytes], body: [{ s: 'for', v: 'i', n: e.i32(256), body: [{ s: 'store', buf: 1, at: i, x: inlined(x) }] }] };
  const table = new Uint8Array(256);
  runNest(nest, [Uint8Array.from({ length: 256 }, (_, v) => v), table]);
  return { of, table };
}

/** Halves of 16 bytes, as 16-bit lanes. */
const HALVES = ['low', 'high'] as const;

/** Numbers that make (v·m + b) >> s, modulo 2¹⁶, what a table has for every v from `lo` to `hi`; found by trying all m for each s. */
function multiplyShift(table: Uint8Array, lo: number, hi: number): { readonly m: number; readonly b: number; readonly s: number } | null {
  const largest = Math.max(...table.subarray(lo, hi + 1));
  for (let s = 16 - Math.ceil(Math.log2(largest + 1)); s > 0; s--) {
    for (let m = 1; m <= ((largest + 1) * 2 ** s) / Math.max(1, hi - lo) && m < 2 ** 16; m++) {
      let [from, to] = [-Infinity, Infinity];
      for (let v = lo; v <= hi && from <= to; v++) {
        from = Math.max(from, table[v] * 2 ** s - v * m);
        to = Math.min(to, (table[v] + 1) * 2 ** s - 1 - v * m);
      }
      if (from <= to) return { m, b: from <= 0 && to >= 0 ? 0 : from, s };
    }
  }
  return null;
}

/**
 * A table's values for the sixteen bytes `v`, the text of a local, all of them from `lo` to `hi`: by counting the bytes where a
 * rising table rises, or by multiplying and shifting; null where neither is found or is worth it. `constant` keeps a vector's text.
 */
export function printTable(table: Uint8Array, lo: number, hi: number, v: string, constant: (text: string) => string): string | null {
  const rises: number[] = [];
  for (let i = lo + 1; i <= hi; i++) {
    if (table[i] < table[i - 1]) return null;
    for (let n = table[i - 1]; n < table[i]; n++) rises.push(i);
  }
  const splat = (lanes: string, n: number): string => constant(`(${lanes}.splat (i32.const ${n}))`);
  // Three operations for each rise, ten for a product; some 30 for floats of four lanes.
  const count = (): string => rises.reduce((sum, from) => `(i8x16.sub ${sum} (i8x16.ge_u ${v} ${splat('i8x16', from)}))`, splat('i8x16', table[lo]));
  if (rises.length <= 3) return count();
  // Where the table has risen to its end, the last byte before stands for all.
  const last = rises.at(-1)!;
  const found = multiplyShift(table, lo, last);
  if (!found) return rises.length <= 7 ? count() : null;
  const x = last < hi ? `(i8x16.min_u ${v} ${splat('i8x16', last)})` : v;
  const half = (h: (typeof HALVES)[number]): string => {
    const product = `(i16x8.mul (i16x8.extend_${h}_i8x16_u ${x}) ${splat('i16x8', found.m)})`;
    return `(i16x8.shr_u ${found.b === 0 ? product : `(i16x8.add ${product} ${splat('i16x8', found.b)})`} (i32.const ${found.s}))`;
  };
  return `(i8x16.narrow_i16x8_u ${HALVES.map(half).join(' ')})`;
}
