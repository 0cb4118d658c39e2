/** Nests that move elements without computing on them. */
import { e, type Expr, type NestBuilder, type View } from '@bitloom/kernel-spec';
import type { QuantParams } from '@bitloom/numerics';
import { rowMajorStrides } from '@bitloom/tensor';
import { byNest, type OpDef } from './def.js';

export const sameParams = (a: QuantParams | null, b: QuantParams | null): boolean =>
  a === b || (a !== null && b !== null && a.scale[0] === b.scale[0] && a.zeroPoint[0] === b.zeroPoint[0]
    && a.scheme.bits === b.scheme.bits && a.scheme.signed === b.scheme.signed);

/** `byNest` for ops that only move elements: where every moved input has the output's quantisation, codes move as they are. `moved`: which inputs. */
export function movement<A>(body: (b: NestBuilder, ins: readonly View[], out: View, attrs: A) => void, moved: (input: number) => boolean = (i) => i === 0): Pick<OpDef<A>, 'evaluate' | 'lower' | 'scalar' | 'channelsLast'> {
  return byNest<A>((b, ins, [out], attrs) => {
    const plain = ins.every((v, i) => !moved(i) || sameParams(v.quant, out.quant));
    const strip = (v: View): View => (plain ? { ...v, quant: null } : v);
    body(b, ins.map((v, i) => (moved(i) ? strip(v) : v)), strip(out), attrs);
  });
}

/** Index along each axis of row-major position `at`. */
export function unravel(at: Expr, shape: readonly number[]): Expr[] {
  return rowMajorStrides(shape).map((s, a) => (shape[a] === 1 ? e.i32(0) : a === 0 ? e.div(at, e.i32(s)) : e.rem(e.div(at, e.i32(s)), e.i32(shape[a]))));
}

/** Whether a view's physical order is its row-major order (axes of extent 1 may have any stride). */
export const isRowMajor = (v: View): boolean => rowMajorStrides(v.shape).every((s, a) => v.shape[a] === 1 || v.strides[a] === s);
