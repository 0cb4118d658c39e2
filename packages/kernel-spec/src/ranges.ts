/** What is known of the values of a nest's expressions, from the types of its operands, its constants and its loops. */
import type { DType } from '@bitloom/tensor';
import type { Expr, NestOperand, Stmt } from './nest.js';

/** Closed interval. */
export interface Range {
  readonly lo: number;
  readonly hi: number;
}

/** Of i32. */
export const I32_RANGE: Range = { lo: -2147483648, hi: 2147483647 };
/** 1.5·2²³: added to |t| ≤ 2²² as f32, it rounds t to the nearest integer, ties to even, in the low bits of the sum. */
export const ROUNDER = { float: 12582912, bits: 0x4b400000, limit: 2 ** 22 } as const;

const LOAD_RANGE: Partial<Readonly<Record<DType, Range>>> = {
  u8: { lo: 0, hi: 255 }, bool: { lo: 0, hi: 255 }, i8: { lo: -128, hi: 127 }, u16: { lo: 0, hi: 65535 }, i16: { lo: -32768, hi: 32767 },
};
const span = (...v: number[]): Range => ({ lo: Math.min(...v), hi: Math.max(...v) });
function arithmetic(op: 'add' | 'sub' | 'mul', a: Range, b: Range): Range {
  if (op === 'add') return { lo: a.lo + b.lo, hi: a.hi + b.hi };
  if (op === 'sub') return { lo: a.lo - b.hi, hi: a.hi - b.lo };
  return span(a.lo * b.lo, a.lo * b.hi, a.hi * b.lo, a.hi * b.hi);
}
const fits = (r: Range): boolean => r.lo >= I32_RANGE.lo && r.hi <= I32_RANGE.hi;

/** Ranges of the expressions of one nest, found when asked for; all that is told holds for every element of every operand. */
export class Ranges {
  /** Locals that are declared once and never set again; null where there is more than one declaration. */
  private readonly locals = new Map<string, Extract<Stmt, { s: 'let' | 'for' }> | null>();
  private readonly ranges = new WeakMap<Expr, Range>();
  private readonly floats = new WeakMap<Expr, { readonly of: Range | null }>();

  constructor(private readonly operands: readonly NestOperand[], body: readonly Stmt[]) {
    const block = (b: readonly Stmt[]): void => b.forEach((s) => {
      if (s.s === 'let' || s.s === 'for') {
        const name = s.s === 'let' ? s.name : s.v;
        this.locals.set(name, this.locals.has(name) ? null : s);
      }
      if (s.s === 'set') this.locals.set(s.name, null);
      if (s.s === 'for') block(s.body);
      if (s.s === 'if') [s.then, s.else].forEach(block);
    });
    block(body);
  }

  /** What a local is that is declared once and never set again; null for others. */
  definition(name: string): Expr | null {
    const local = this.locals.get(name);
    return local?.s === 'let' ? local.x : null;
  }

  /** Of an i32 expression. */
  int(x: Expr): Range {
    let r = this.ranges.get(x);
    if (!r) {
      r = this.intOnce(x);
      if (!fits(r)) r = I32_RANGE;
      this.ranges.set(x, r);
    }
    return r;
  }

  /** Of the exact sum, difference or product, which may not fit i32. */
  exact(op: 'add' | 'sub' | 'mul', xa: Expr, xb: Expr): Range {
    return arithmetic(op, this.int(xa), this.int(xb));
  }

  /** As {@link exact}. */
  private intOnce(x: Expr): Range {
    if (x.t !== 'i32') return I32_RANGE;
    switch (x.k) {
      case 'const':
        return span(Number(x.v));
      case 'var': {
        const local = this.locals.get(x.name);
        if (!local) return I32_RANGE;
        return local.s === 'let' ? this.int(local.x) : { lo: 0, hi: Math.max(0, this.int(local.n).hi - 1) };
      }
      case 'load':
        return LOAD_RANGE[this.operands[x.buf].dtype] ?? I32_RANGE;
      case 'cmp':
        return span(0, 1);
      case 'cast': {
        // Saturates, of what is never NaN.
        const of = this.float(x.x);
        return of ? span(...[of.lo, of.hi].map((v) => Math.min(Math.max(Math.trunc(v), I32_RANGE.lo), I32_RANGE.hi))) : I32_RANGE;
      }
      case 'sel':
        return span(this.int(x.a).lo, this.int(x.a).hi, this.int(x.b).lo, this.int(x.b).hi);
      case 'bin': {
        const [a, b] = [this.int(x.a), this.int(x.b)];
        switch (x.op) {
          case 'add':
          case 'sub':
          case 'mul': return arithmetic(x.op, a, b);
          case 'div': return b.lo > 0 ? span(...[a.lo, a.hi].flatMap((p) => [Math.trunc(p / b.lo), Math.trunc(p / b.hi)])) : I32_RANGE;
          case 'rem': return b.lo > 0 ? { lo: a.lo < 0 ? -(b.hi - 1) : 0, hi: a.hi > 0 ? Math.min(a.hi, b.hi - 1) : 0 } : I32_RANGE;
          case 'min':
          case 'pmin': return { lo: Math.min(a.lo, b.lo), hi: Math.min(a.hi, b.hi) };
          case 'max':
          case 'pmax': return { lo: Math.max(a.lo, b.lo), hi: Math.max(a.hi, b.hi) };
          case 'and': return a.lo >= 0 && b.lo >= 0 ? { lo: 0, hi: Math.min(a.hi, b.hi) } : I32_RANGE;
          case 'shr': return b.lo === b.hi ? { lo: a.lo >> b.lo, hi: a.hi >> b.lo } : I32_RANGE;
          default: return I32_RANGE;
        }
      }
      default:
        return I32_RANGE;
    }
  }

  /** Of a float expression that is never NaN; null where that is not known. */
  float(x: Expr): Range | null {
    let r = this.floats.get(x);
    if (!r) this.floats.set(x, (r = { of: this.floatOnce(x) }));
    return r.of;
  }

  private floatOnce(x: Expr): Range | null {
    if (x.t !== 'f32' && x.t !== 'f64') return null;
    switch (x.k) {
      case 'const':
        return Number.isNaN(Number(x.v)) ? null : span(Number(x.v));
      case 'var': {
        const definition = this.definition(x.name);
        return definition && this.float(definition);
      }
      case 'cast': {
        if (x.x.t !== 'i32') return null;
        const { lo, hi } = this.int(x.x);
        return x.t === 'f32' ? span(Math.fround(lo), Math.fround(hi)) : { lo, hi };
      }
      case 'un': {
        const of = x.op === 'nearest' ? this.float(x.x) : null;
        return of && { lo: Math.floor(of.lo), hi: Math.ceil(of.hi) };
      }
      case 'bin': {
        const a = this.float(x.a);
        if (!a) return null;
        const b = this.float(x.b);
        // Where b may be NaN they are a.
        if (x.op === 'pmin') return { lo: Math.min(a.lo, b?.lo ?? -Infinity), hi: b ? Math.min(a.hi, b.hi) : a.hi };
        if (x.op === 'pmax') return { lo: b ? Math.max(a.lo, b.lo) : a.lo, hi: Math.max(a.hi, b?.hi ?? Infinity) };
        // Rounding is monotone. Of two floats, double holds the product, and rounds sums so that rounding them again does no harm.
        if (!b || x.t !== 'f32' || (x.op !== 'add' && x.op !== 'sub' && x.op !== 'mul')) return null;
        const of = arithmetic(x.op, a, b);
        const [lo, hi] = [Math.fround(of.lo), Math.fround(of.hi)];
        return Number.isFinite(lo) && Number.isFinite(hi) ? { lo, hi } : null;
      }
      default:
        return null;
    }
  }

  /** Whether a float expression is a number from lo to hi. */
  within(x: Expr, lo: number, hi: number): boolean {
    const of = this.float(x);
    return of !== null && of.lo >= lo && of.hi <= hi;
  }

  /** Whether {@link ROUNDER} rounds an f32 expression. */
  rounds(x: Expr): boolean {
    return x.t === 'f32' && this.within(x, -ROUNDER.limit, ROUNDER.limit);
  }

  /** Whether an f32 expression is a whole number. */
  whole(x: Expr): boolean {
    if (x.k === 'var') {
      const definition = this.definition(x.name);
      return definition !== null && this.whole(definition);
    }
    return x.k === 'un' && x.op === 'nearest';
  }
}
