/** Multiplication in place of the division by a scale, where it is known to give the same codes. */
import { type Expr, NestBuilder, type View, runNest } from '@bitloom/kernel-spec';
import { type QuantParams, codeRange } from '@bitloom/numerics';

/** All codes of so many operands are tried: 65,536 of two. */
const MOST_OPERANDS = 2;

/**
 * Distances from the rounded reciprocal that are tried, in units in the last place. Of two operands some quotient often lies so close to the middle between two
 * codes that the product falls on its other side; with another factor it mostly does not.
 */
const NEIGHBOURS = [0, 1, -1, 2, -2, 3, -3];

function reciprocals(scale: number): number[] {
  const word = new DataView(new ArrayBuffer(4));
  word.setFloat32(0, 1 / scale);
  const bits = word.getInt32(0);
  return NEIGHBOURS.map((n) => {
    word.setInt32(0, bits + n);
    return word.getFloat32(0);
  }).filter((r) => r > 0 && Number.isFinite(r));
}

/**
 * A factor r with which f(x…)·r rounds to the same code as f(x…)/scale for all codes of the operands, so that kernels need not divide (division takes most of
 * the time of an elementwise call); null where none is found, an operand is not quantised, or there are too many to try all.
 * @param f value of the expression that is stored with the parameters `out`
 */
export function reciprocal(out: QuantParams, operands: readonly (QuantParams | null)[], f: (b: NestBuilder, args: Expr[]) => Expr): number | null {
  if (operands.length === 0 || operands.length > MOST_OPERANDS || operands.includes(null)) return null;
  const ranges = (operands as readonly QuantParams[]).map((q) => codeRange(q.scheme));
  const counts = ranges.map(({ lo, hi }) => hi - lo + 1);
  const elements = counts.reduce((n, c) => n * c, 1);
  const before = counts.map((_, k) => counts.slice(0, k).reduce((n, c) => n * c, 1));
  const codes = ranges.map(({ lo }, k) => Uint8Array.from({ length: elements }, (_, i) => lo + (Math.floor(i / before[k]) % counts[k])));
  const view = (operand: number, quant: QuantParams | null, r: number | null = null): View => ({ operand, dtype: 'u8', shape: [elements], strides: [1], quant, reciprocal: r });
  const results = (r: number | null): Uint8Array => {
    const b = new NestBuilder([...codes, codes[0]].map(() => ({ dtype: 'u8', elements })));
    b.elementwise(view(codes.length, out, r), operands.map((q, k) => view(k, q)), (args) => f(b, args));
    const found = new Uint8Array(elements);
    runNest(b.build(), [...codes, found]);
    return found;
  };
  const wanted = results(null);
  return reciprocals(out.scale[0]).find((r) => results(r).every((c, i) => c === wanted[i])) ?? null;
}
