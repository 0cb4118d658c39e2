/** Builds nests: loops as callbacks, operands as strided views, quantised storage decoded and encoded on the way. */
import type { DType } from '@bitloom/tensor';
import type { QuantParams } from '@bitloom/numerics';
import { codeRange } from '@bitloom/numerics';
import * as e from './expr.js';
import { type Expr, type Nest, type NestOperand, type Stmt, scalarOf } from './nest.js';

/**
 * How a logical tensor lies in a buffer: element (i₀…) is at Σ iₐ·stridesₐ. `quant` not null means u8 codes that stand for
 * f32 values (per-tensor parameters); loads then give, and stores take, f32.
 */
export interface View {
  readonly operand: number;
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly strides: readonly number[];
  readonly quant: QuantParams | null;
  /** What stores multiply with in place of a division by the scale; only where codes are known to be the same. */
  readonly reciprocal?: number | null;
}

export class NestBuilder {
  private readonly body: Stmt[] = [];
  private block: Stmt[] = this.body;
  private counter = 0;
  constructor(private readonly operands: readonly NestOperand[]) {}

  build(): Nest {
    return { operands: this.operands, body: this.body };
  }

  private fresh(prefix: string): string {
    return `${prefix}${this.counter++}`;
  }

  private inBlock(body: () => void): Stmt[] {
    const outer = this.block;
    this.block = [];
    body();
    const inner = this.block;
    this.block = outer;
    return inner;
  }

  /** for v in 0…n−1. A constant extent of 1 makes no loop. */
  for(n: number | Expr, body: (v: Expr) => void): void {
    if (n === 1) {
      body(e.i32(0));
      return;
    }
    const v = this.fresh('i');
    const inner = this.inBlock(() => body({ k: 'var', t: 'i32', name: v }));
    this.block.push({ s: 'for', v, n: typeof n === 'number' ? e.i32(n) : n, body: inner });
  }

  /** Nested loops over `shape`, outermost first. */
  loops(shape: readonly number[], body: (index: Expr[]) => void, index: Expr[] = []): void {
    if (index.length === shape.length) body(index);
    else this.for(shape[index.length], (v) => this.loops(shape, body, [...index, v]));
  }

  if(c: Expr, then: () => void, otherwise?: () => void): void {
    this.block.push({ s: 'if', c, then: this.inBlock(then), else: otherwise ? this.inBlock(otherwise) : [] });
  }

  /** Names a value so that it is computed once. Constants and variables are returned as they are. */
  let(x: Expr): Expr {
    return x.k === 'const' || x.k === 'var' ? x : this.local(x).value;
  }

  /** A mutable local. */
  local(init: Expr): { readonly value: Expr; set(x: Expr): void } {
    const name = this.fresh('t');
    this.block.push({ s: 'let', name, x: init });
    return { value: { k: 'var', t: init.t, name }, set: (x) => void this.block.push({ s: 'set', name, x }) };
  }

  private address(v: View, index: readonly Expr[]): Expr {
    return index.reduce<Expr>((at, i, a) => e.add(at, e.mul(i, e.i32(v.strides[a]))), e.i32(0));
  }

  /** Element at a logical index: f32 for quantised views, else the storage type's scalar. */
  load(v: View, index: readonly Expr[]): Expr {
    return this.loadAt(v, this.address(v, index));
  }
  /** Element at a physical offset. */
  loadAt(v: View, at: Expr): Expr {
    const raw: Expr = { k: 'load', t: scalarOf(v.dtype), buf: v.operand, at };
    if (!v.quant) return raw;
    return e.mul(e.f32(v.quant.scale[0]), e.cast('f32', e.sub(raw, e.i32(v.quant.zeroPoint[0]))));
  }

  store(v: View, index: readonly Expr[], x: Expr): void {
    this.storeAt(v, this.address(v, index), x);
  }
  storeAt(v: View, at: Expr, x: Expr): void {
    this.storeRaw(v, at, v.quant ? quantizeExpr(x, v.quant, v.reciprocal ?? null) : x);
  }

  private storeRaw(v: View, at: Expr, x: Expr): void {
    this.block.push({ s: 'store', buf: v.operand, at, x });
  }

  /**
   * out[i] = f(ins[i]) for every element, operands broadcast numpy-style to `out.shape`. Iterates in `out`'s physical order
   * and merges adjacent loops wherever all operands allow, so that contiguous tensors become one loop.
   * @param copies quantised, of the shape of `out`: get what `out` then holds
   */
  elementwise(out: View, ins: readonly View[], f: (args: Expr[]) => Expr, copies: readonly View[] = []): void {
    const rank = out.shape.length;
    const strideOf = (v: View, d: number): number => {
      const a = d - (rank - v.shape.length);
      return a < 0 || v.shape[a] === 1 ? 0 : v.strides[a];
    };
    const views = [out, ...copies, ...ins];
    let dims = out.shape
      .map((n, d) => ({ n, strides: views.map((v) => strideOf(v, d)) }))
      .filter((d) => d.n !== 1)
      .sort((a, b) => b.strides[0] - a.strides[0]);
    dims = dims.reduce<typeof dims>((acc, d) => {
      const last = acc.at(-1);
      if (last && last.strides.every((s, i) => s === d.strides[i] * d.n)) acc[acc.length - 1] = { n: last.n * d.n, strides: d.strides };
      else acc.push(d);
      return acc;
    }, []);
    this.loops(dims.map((d) => d.n), (index) => {
      const at = views.map((_, i) => index.reduce<Expr>((sum, v, d) => e.add(sum, e.mul(v, e.i32(dims[d].strides[i]))), e.i32(0)));
      const x = f(ins.map((v, i) => this.loadAt(v, at[1 + copies.length + i])));
      if (copies.length === 0) return this.storeAt(out, at[0], x);
      const copy = (value: Expr): void => copies.forEach((v, i) => this.storeAt(v, at[1 + i], value));
      if (!out.quant) {
        const value = this.let(x);
        this.storeAt(out, at[0], value);
        return copy(value);
      }
      // Steps from zero stay floats: what the stored code decodes to but for the sign of zero, which no code depends on. Compilers vectorise this, not the way
      // through the code (gcc 12).
      const steps = this.let(stepsOf(x, out.quant, out.reciprocal ?? null));
      this.storeRaw(out, at[0], codeOf(steps, out.quant));
      copy(this.let(e.mul(e.f32(out.quant.scale[0]), steps)));
    });
  }
}

/** clamp(rne(x / scale)), in f32. */
function stepsOf(x: Expr, q: QuantParams, reciprocal: number | null): Expr {
  const { lo, hi } = codeRange(q.scheme);
  const z = q.zeroPoint[0];
  const scaled = reciprocal === null ? e.div(x, e.f32(q.scale[0])) : e.mul(x, e.f32(reciprocal));
  return e.nearest(e.pmin(e.f32(hi - z), e.pmax(e.f32(lo - z), scaled)));
}
const codeOf = (steps: Expr, q: QuantParams): Expr => e.add(e.cast('i32', steps), e.i32(q.zeroPoint[0]));

/** u8 code of an f32 expression: clamp(rne(x / scale) + zero point), as `quantizeValue` of @bitloom/numerics. */
const quantizeExpr = (x: Expr, q: QuantParams, reciprocal: number | null): Expr => codeOf(stepsOf(x, q, reciprocal), q);
