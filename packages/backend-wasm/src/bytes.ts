/** Texts of functions of bytes. */
import { multiplyShift, risesOf } from '@bitloom/kernel-spec';

/** Halves of 16 bytes, as 16-bit lanes. */
const HALVES = ['low', 'high'] as const;

/**
 * A table's values for the sixteen bytes `v`, the text of a local, all of them from `lo` to `hi`: by counting the bytes where a
 * rising table rises, or by multiplying and shifting; null where neither is found or is worth it. `constant` keeps a vector's text.
 */
export function printTable(table: Uint8Array, lo: number, hi: number, v: string, constant: (text: string) => string): string | null {
  const rises = risesOf(table, lo, hi);
  if (!rises) return null;
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
