/** Loop-invariant code motion on nests: what a loop computes again and again is named before it. */
import type { Expr, Nest, Stmt } from '@bitloom/kernel-spec';

/** Names an expression reads. */
export function readsOf(x: Expr, into = new Set<string>()): Set<string> {
  if (x.k === 'var') into.add(x.name);
  for (const c of childrenOf(x)) readsOf(c, into);
  return into;
}

export function childrenOf(x: Expr): readonly Expr[] {
  switch (x.k) {
    case 'const':
    case 'var':
      return [];
    case 'load':
      return [x.at];
    case 'un':
    case 'cast':
      return [x.x];
    case 'bin':
    case 'cmp':
      return [x.a, x.b];
    case 'sel':
      return [x.c, x.a, x.b];
    case 'call':
      return x.args;
  }
}

/** The same expression over other children, in the order of {@link childrenOf}. */
function withChildren(x: Expr, c: readonly Expr[]): Expr {
  switch (x.k) {
    case 'const':
    case 'var':
      return x;
    case 'load':
      return { ...x, at: c[0] };
    case 'un':
    case 'cast':
      return { ...x, x: c[0] };
    case 'bin':
    case 'cmp':
      return { ...x, a: c[0], b: c[1] };
    case 'sel':
      return { ...x, c: c[0], a: c[1], b: c[2] };
    case 'call':
      return { ...x, args: c };
  }
}

/** Equal for structurally equal expressions. */
export const keyOf = (x: Expr): string => JSON.stringify(x, (_, v: unknown) => (typeof v === 'bigint' ? `${v}n` : Object.is(v, -0) ? '-0' : typeof v === 'number' && !Number.isFinite(v) ? String(v) : v));

/** Every statement of a block, outermost first. */
export function* statementsOf(body: readonly Stmt[]): Generator<Stmt> {
  for (const s of body) {
    yield s;
    if (s.s === 'for') yield* statementsOf(s.body);
    if (s.s === 'if') {
      yield* statementsOf(s.then);
      yield* statementsOf(s.else);
    }
  }
}

/** The expressions of one statement, without those of nested statements. */
export function expressionsOf(s: Stmt): readonly Expr[] {
  switch (s.s) {
    case 'for':
      return [s.n];
    case 'if':
      return [s.c];
    case 'store':
      return [s.at, s.x];
    default:
      return [s.x];
  }
}

/** Names that a block declares or sets. */
export function writesOf(body: readonly Stmt[]): Set<string> {
  const names = new Set<string>();
  for (const s of statementsOf(body)) {
    if (s.s === 'for') names.add(s.v);
    if (s.s === 'let' || s.s === 'set') names.add(s.name);
  }
  return names;
}

function mapStmt(s: Stmt, f: (x: Expr) => Expr): Stmt {
  const block = (b: readonly Stmt[]): Stmt[] => b.map((t) => mapStmt(t, f));
  switch (s.s) {
    case 'for':
      return { ...s, n: f(s.n), body: block(s.body) };
    case 'if':
      return { ...s, c: f(s.c), then: block(s.then), else: block(s.else) };
    case 'store':
      return { ...s, at: f(s.at), x: f(s.x) };
    default:
      return { ...s, x: f(s.x) };
  }
}

/**
 * Moves the largest load-free subexpressions that a loop does not change in front of it. No operation traps, so it does not
 * matter that a loop may run zero times.
 */
export function hoistInvariants(nest: Nest): Nest {
  let counter = 0;

  const hoistFrom = (loop: Extract<Stmt, { s: 'for' }>): { lets: Stmt[]; body: Stmt[] } => {
    const written = writesOf(loop.body).add(loop.v);
    const lets: Stmt[] = [];
    const known = new Map<string, Expr>();
    const invariant = (x: Expr): boolean => (x.k === 'var' ? !written.has(x.name) : x.k !== 'load' && childrenOf(x).every(invariant));
    const move = (x: Expr): Expr => {
      if (x.k === 'const' || x.k === 'var') return x;
      if (!invariant(x)) return withChildren(x, childrenOf(x).map(move));
      if (readsOf(x).size === 0) return x;
      const key = keyOf(x);
      let v = known.get(key);
      if (!v) {
        // '#' cannot be part of a name the builder makes.
        const name = `#${counter++}`;
        v = { k: 'var', t: x.t, name };
        known.set(key, v);
        lets.push({ s: 'let', name, x });
      }
      return v;
    };
    return { lets, body: loop.body.map((s) => mapStmt(s, move)) };
  };

  const block = (body: readonly Stmt[]): Stmt[] =>
    body.flatMap((s): Stmt[] => {
      if (s.s === 'if') return [{ ...s, then: block(s.then), else: block(s.else) }];
      if (s.s !== 'for') return [s];
      const { lets, body: inner } = hoistFrom(s);
      return [...lets, { ...s, body: block(inner) }];
    });
  return { ...nest, body: block(nest.body) };
}
