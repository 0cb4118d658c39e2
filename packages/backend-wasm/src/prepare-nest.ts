/** Nests made ready for printing: equal subexpressions become one node, and what a loop does not change moves in front of it. */
import { type Expr, type Nest, type Stmt, childrenOf, perNode, statementsOf, withChildren } from '@bitloom/kernel-spec';

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

/** What distinguishes a node from others of its kind and type over the same children. */
function ownText(x: Expr): string {
  switch (x.k) {
    case 'const':
      return Object.is(x.v, -0) ? '-0' : String(x.v);
    case 'var':
      return x.name;
    case 'load':
      return String(x.buf);
    case 'un':
    case 'bin':
    case 'cmp':
      return x.op;
    case 'call':
      return x.fn;
    default:
      return '';
  }
}

/** Makes structurally equal expressions the same object (hash consing). */
class Interner {
  private readonly nodes = new Map<string, Expr>();
  private readonly ids = new Map<Expr, number>();
  readonly intern = perNode<Expr>((x, self) => this.unique(withChildren(x, childrenOf(x).map(self))));

  /** `x` has interned children. */
  unique(x: Expr): Expr {
    const key = `${x.k} ${x.t} ${ownText(x)} ${childrenOf(x).map((c) => this.ids.get(c)!).join(' ')}`;
    const known = this.nodes.get(key);
    if (known) return known;
    this.nodes.set(key, x);
    this.ids.set(x, this.ids.size);
    return x;
  }
}

/**
 * Shares equal subexpressions and moves the largest load-free ones that a loop does not change in front of it. No operation
 * traps, so it does not matter that a loop may run zero times.
 */
export function prepareNest(nest: Nest): Nest {
  const interner = new Interner();
  let counter = 0;

  const hoistFrom = (loop: Extract<Stmt, { s: 'for' }>): { lets: Stmt[]; body: Stmt[] } => {
    const written = writesOf(loop.body).add(loop.v);
    const lets: Stmt[] = [];
    const constant = perNode<boolean>((x, self) => x.k !== 'load' && x.k !== 'var' && childrenOf(x).every(self));
    const invariant = perNode<boolean>((x, self) => (x.k === 'var' ? !written.has(x.name) : x.k !== 'load' && childrenOf(x).every(self)));
    const move = perNode<Expr>((x, self) => {
      if (x.k === 'var' || constant(x)) return x;
      if (!invariant(x)) return interner.unique(withChildren(x, childrenOf(x).map(self)));
      // The builder makes no names with '#'.
      const name = `#${counter++}`;
      lets.push({ s: 'let', name, x });
      return interner.unique({ k: 'var', t: x.t, name });
    });
    return { lets, body: loop.body.map((s) => mapStmt(s, move)) };
  };

  const block = (body: readonly Stmt[]): Stmt[] =>
    body.flatMap((s): Stmt[] => {
      if (s.s === 'if') return [{ ...s, then: block(s.then), else: block(s.else) }];
      if (s.s !== 'for') return [s];
      const { lets, body: inner } = hoistFrom(s);
      return [...lets, { ...s, body: block(inner) }];
    });
  return { ...nest, body: block(nest.body.map((s) => mapStmt(s, interner.intern))) };
}
