/** Walks over the expressions and statements of nests. */
import type { Expr, Stmt } from './nest.js';

/** Operands of an expression, in the order of their evaluation. */
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
export function withChildren(x: Expr, c: readonly Expr[]): Expr {
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

/** A function over expressions that visits a shared node once. */
export function perNode<T>(f: (x: Expr, self: (y: Expr) => T) => T): (x: Expr) => T {
  const known = new Map<Expr, { readonly value: T }>();
  const self = (x: Expr): T => {
    let r = known.get(x);
    if (!r) known.set(x, (r = { value: f(x, self) }));
    return r.value;
  };
  return self;
}

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

/** The expressions of one statement in the order of their evaluation, without those of nested statements. */
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
