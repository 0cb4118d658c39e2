/** Loops that store bytes which follow from others that they load or store, as two: the second works on lanes of 8 or 16 bits, not of 32. */
import { type Expr, type KnownBytes, type Nest, Ranges, type Stmt, childrenOf, e, expressionsOf, madeOf, multiplyShift, perNode, risesOf, statementsOf, tableOf, withChildren } from '@bitloom/kernel-spec';

type Loop = Extract<Stmt, { s: 'for' }>;
type Store = Extract<Stmt, { s: 'store' }>;

interface KnownByte extends KnownBytes {
  /** It, loaded. */
  readonly byte: Expr;
}

/** Rises of a table that are counted, at most. */
const MOST_RISES = 7;

/** Whether an expression loads nothing, and has none of these variables. */
const unwritten = (written: ReadonlySet<string>): ((x: Expr) => boolean) =>
  perNode<boolean>((x, self) => (x.k === 'var' ? !written.has(x.name) : x.k !== 'load' && childrenOf(x).every(self)));

/** Whether an index differs in every iteration of a loop over `v`, whose body writes the variables `written`. */
function isPlace(at: Expr, v: string, written: ReadonlySet<string>): boolean {
  const fixed = unwritten(new Set([...written, v]));
  const distinct = (x: Expr): boolean => (x.k === 'var' ? x.name === v : x.k === 'bin' && x.op === 'add' && ((distinct(x.a) && fixed(x.b)) || (fixed(x.a) && distinct(x.b))));
  return distinct(at);
}

/** Operands that expressions load from. */
function loadsOf(all: readonly Expr[]): Set<number> {
  const found = new Set<number>();
  const visit = perNode<void>((x, self) => {
    if (x.k === 'load') found.add(x.buf);
    childrenOf(x).forEach(self);
  });
  all.forEach(visit);
  return found;
}

const renamed = (from: string, to: string): ((x: Expr) => Expr) =>
  perNode<Expr>((x, self) => (x.k === 'var' && x.name === from ? { ...x, name: to } : withChildren(x, childrenOf(x).map(self))));

/** A rising table's value for a byte from `lo` to `hi`, in operations that compilers run on lanes of 8 or 16 bits; null where there are none. */
function printable(table: Uint8Array, { lo, hi, byte }: KnownByte): Expr | null {
  const rises = risesOf(table, lo, hi);
  if (!rises) return null;
  if (rises.length <= MOST_RISES) return rises.reduce<Expr>((sum, from) => e.add(sum, e.ge(byte, e.i32(from))), e.i32(table[lo]));
  // Where the table has risen to its end, the last byte before stands for all.
  const last = rises.at(-1)!;
  const found = multiplyShift(table, lo, last);
  if (!found || found.b < 0 || last * found.m + found.b > 65535) return null;
  return e.ushr(e.add(e.mul(last < 255 ? e.min(byte, e.i32(last)) : byte, e.i32(found.m)), e.i32(found.b)), e.i32(found.s));
}

function splitLoop(loop: Loop, nest: Nest, ranges: Ranges, fresh: (v: string) => string): Stmt[] {
  const { body, v } = loop;
  // Both loops evaluate how often they run.
  if (body.some((s) => s.s === 'for' || s.s === 'if' || s.s === 'set') || loadsOf([loop.n]).size > 0) return [loop];
  const written = new Set(body.flatMap((s) => (s.s === 'let' ? [s.name] : [])));
  const loaded = loadsOf(body.flatMap(expressionsOf));
  const stored = body.flatMap((s) => (s.s === 'store' ? [s.buf] : []));
  /** Bytes that the second loop may load or store: no other statement of the loop touches them. */
  const isAlone = (s: Store): boolean =>
    nest.operands[s.buf].dtype === 'u8' && !loaded.has(s.buf) && stored.filter((buf) => buf === s.buf).length === 1 && isPlace(s.at, v, written);
  const known = new Map<string, KnownByte>();
  const read = new Map<string, KnownByte>();
  const fixed = unwritten(written);
  /** A byte that the loop does not change. */
  const loadedByte = (x: Extract<Expr, { k: 'load' }>): KnownByte | null => {
    if (nest.operands[x.buf].dtype !== 'u8' || stored.includes(x.buf) || !fixed(x.at)) return null;
    const key = JSON.stringify(x, (_, value: unknown) => (typeof value === 'bigint' ? `${value}` : value));
    if (!read.has(key)) read.set(key, { zero: 0, lo: 0, hi: 255, byte: x });
    return read.get(key)!;
  };
  const second = new Map<Stmt, Store>();
  for (const s of body) {
    if (s.s !== 'store' || !isAlone(s)) continue;
    const found = tableOf(s.x, (y) => (y.k === 'load' ? loadedByte(y) : (known.get(y.name) ?? null)), ranges);
    const x = found && printable(found.table, found.of);
    if (x) second.set(s, { ...s, x });
    const made = madeOf(s.x, ranges);
    if (made && !second.has(s)) known.set(made.name, { ...made, byte: { k: 'load', t: 'i32', buf: s.buf, at: s.at } });
  }
  if (!second.size) return [loop];
  const w = fresh(v);
  const inSecond = renamed(v, w);
  const first = body.filter((s) => !second.has(s));
  return [...(first.some((s) => s.s === 'store') ? [{ ...loop, body: first }] : []), { ...loop, v: w, body: [...second.values()].map((s) => ({ ...s, at: inSecond(s.at), x: inSecond(s.x) })) }];
}

/** A nest that does the same with such loops split. */
export function splitBytes(nest: Nest): Nest {
  const ranges = new Ranges(nest.operands, nest.body);
  const names = new Set([...statementsOf(nest.body)].flatMap((s) => (s.s === 'for' ? [s.v] : s.s === 'let' ? [s.name] : [])));
  const fresh = (v: string): string => {
    let name = v;
    while (names.has(name)) name += '_';
    names.add(name);
    return name;
  };
  const block = (body: readonly Stmt[]): Stmt[] => body.flatMap((s) => {
    if (s.s === 'if') return [{ ...s, then: block(s.then), else: block(s.else) }];
    if (s.s !== 'for') return [s];
    return [...statementsOf(s.body)].some((t) => t.s === 'for') ? [{ ...s, body: block(s.body) }] : splitLoop(s, nest, ranges, fresh);
  });
  return { ...nest, body: block(nest.body) };
}
