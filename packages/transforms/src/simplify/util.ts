/** What several rules ask of constants. */
import type { Node, RuleContext, ValueId } from '@bitloom/ir';
import { type Tensor, DTYPES, allocate, getAt, isFloat, sameShape } from '@bitloom/tensor';

/** Ops with weights as second operand. */
export const WEIGHTED: ReadonlySet<string> = new Set(['conv', 'conv_transpose', 'linear']);

export const attrsOf = <A>(n: Node): A => n.attrs as A;

/** Whether two values have one type. */
export function sameType(ctx: RuleContext, a: ValueId, b: ValueId): boolean {
  const [p, q] = [ctx.typeOf(a), ctx.typeOf(b)];
  return p.dtype === q.dtype && sameShape(p.shape, q.shape);
}

/** The number that all elements of a constant are, else null. */
export function uniformOf(t: Tensor | null): number | null {
  if (!t || t.data.length === 0) return null;
  const first = getAt(t, 0);
  for (let i = 1; i < t.data.length; i++) if (getAt(t, i) !== first) return null;
  return first;
}

/** One number per channel where a constant, broadcast to a tensor of `rank` axes, varies along `axis` only; else null. */
export function channelVector(t: Tensor | null, rank: number, axis: number, channels: number): Float64Array | null {
  if (!t || !isFloat(t.dtype) || t.shape.length > rank) return null;
  const uniform = uniformOf(t);
  if (uniform !== null) return new Float64Array(channels).fill(uniform);
  const lead = rank - t.shape.length;
  if (!t.shape.every((d, a) => d === 1 || (a + lead === axis && d === channels))) return null;
  return Float64Array.from({ length: channels }, (_, c) => getAt(t, c));
}

/** Float tensor of f64 values, each rounded once; null where one is not finite. */
export function rounded(dtype: 'f32' | 'f64', shape: readonly number[], values: Float64Array): Tensor | null {
  const data = new (DTYPES[dtype].array as Float32ArrayConstructor)(values);
  return data.every(Number.isFinite) ? { dtype, shape, data } : null;
}

/** A matrix transposed. */
export function transposedMatrix(t: Tensor, rows: number, columns: number): Tensor {
  const out = allocate(t.dtype, [columns, rows]);
  for (let i = 0; i < rows; i++) for (let j = 0; j < columns; j++) out.data[j * rows + i] = t.data[i * columns + j];
  return out;
}
