/** What a loop stores as bytes, in forms that need fewer operations and give the same bytes. */
import * as e from './expr.js';
import type { Expr, Nest } from './nest.js';
import type { Range, Ranges } from './ranges.js';
import { runNest } from './run-nest.js';
import { childrenOf, perNode, withChildren } from './walk.js';

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

/** Bytes at hand, all from `lo` to `hi`: what is loaded, or a variable plus `zero`. */
export interface KnownBytes extends Range {
  readonly zero: number;
}

/** The variable that a stored byte is made of, where it can be told from the byte. */
export function madeOf(x: Expr, ranges: Ranges): (KnownBytes & { readonly name: string }) | null {
  const code = codeOf(x);
  return code?.steps.k === 'var' && ranges.whole(code.steps) ? { name: code.steps.name, zero: code.zero, ...ranges.int(x) } : null;
}

/** Expressions of more nodes than this, counted as trees, are not tabulated. */
const LARGEST = 64;

/**
 * A function of the bytes at hand that `known` finds in variables or in loads of bytes, as the table of what it gives for each; null where an
 * expression depends on something else, or on two of them.
 */
export function tableOf<T extends KnownBytes>(x: Expr, known: (y: Extract<Expr, { k: 'var' | 'load' }>) => T | null, ranges: Ranges): { readonly of: T; readonly table: Uint8Array } | null {
  const sources = new Set<T>();
  const size = perNode<number>((y, self) => {
    if (y.k !== 'var' && y.k !== 'load') return childrenOf(y).reduce((n, c) => n + self(c), 1);
    const bytes = known(y);
    if (bytes) sources.add(bytes);
    const definition = y.k === 'var' ? ranges.definition(y.name) : null;
    return bytes ? 1 : definition ? self(definition) : Infinity;
  });
  if (size(x) > LARGEST || sources.size !== 1) return null;
  const [of] = sources;
  const i: Expr = { k: 'var', t: 'i32', name: 'i' };
  const byte: Expr = { k: 'load', t: 'i32', buf: 0, at: i };
  const steps = e.cast('f32', e.sub(byte, e.i32(of.zero)));
  const inlined = perNode<Expr>((y, self) => {
    if (y.k === 'load') return byte;
    return y.k !== 'var' ? withChildren(y, childrenOf(y).map(self)) : known(y) ? steps : self(ranges.definition(y.name)!);
  });
  const bytes = { dtype: 'u8', elements: 256 } as const;
  const nest: Nest = { operands: [bytes, bytes], body: [{ s: 'for', v: 'i', n: e.i32(256), body: [{ s: 'store', buf: 1, at: i, x: inlined(x) }] }] };
  const table = new Uint8Array(256);
  runNest(nest, [Uint8Array.from({ length: 256 }, (_, v) => v), table]);
  return { of, table };
}

/** The bytes from `lo` to `hi` at which a table rises, as often as it does there; null where it falls. */
export function risesOf(table: Uint8Array, lo: number, hi: number): number[] | null {
  const rises: number[] = [];
  for (let i = lo + 1; i <= hi; i++) {
    if (table[i] < table[i - 1]) return null;
    for (let n = table[i - 1]; n < table[i]; n++) rises.push(i);
  }
  return rises;
}

/** Numbers that make (v·m + b) >> s, modulo 2¹⁶, what a table has for every v from `lo` to `hi`; found by trying all m for each s. */
export function multiplyShift(table: Uint8Array, lo: number, hi: number): { readonly m: number; readonly b: number; readonly s: number } | null {
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
