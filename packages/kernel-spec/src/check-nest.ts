/** Well-formedness of nests and scalar functions, the precondition of every printer. */
import { type Code, fail } from '@bitloom/diagnostics';
import { type Expr, type Nest, type Scalar, type Stmt, scalarOf } from './nest.js';
import { SCALAR_FUNCTIONS, type ScalarFunction } from './scalar-functions.js';

/** Bounds on nests, so that printers can recurse and generated code stays finite. Shared subtrees count each time they occur. */
export const MAX_NEST_DEPTH = 400;
export const MAX_NEST_NODES = 1 << 20;

const isFloat = (t: Scalar): boolean => t === 'f32' || t === 'f64';
const SCALARS: readonly Scalar[] = ['i32', 'i64', 'f32', 'f64'];
const BITS: Readonly<Partial<Record<Scalar, Scalar>>> = { f32: 'i32', f64: 'i64' };
const FROMBITS: Readonly<Partial<Record<Scalar, Scalar>>> = { i32: 'f32', i64: 'f64' };

/** Operand scalars an operation accepts. */
const UNARY: Readonly<Record<string, (t: Scalar) => boolean>> = {
  neg: () => true,
  abs: () => true,
  sqrt: isFloat,
  floor: isFloat,
  ceil: isFloat,
  trunc: isFloat,
  nearest: isFloat,
  bits: isFloat,
  frombits: (t) => !isFloat(t),
};
const any = (): boolean => true;
const int = (t: Scalar): boolean => !isFloat(t);
const BINARY: Readonly<Record<string, (t: Scalar) => boolean>> = {
  add: any, sub: any, mul: any, div: any, min: any, max: any, pmin: any, pmax: any,
  rem: int, and: int, or: int, xor: int, shl: int, shr: int, ushr: int,
};

function fits(v: number | bigint, t: Scalar): boolean {
  if (typeof v === 'bigint' || t === 'i64') return typeof v === 'bigint' && t === 'i64' && v === BigInt.asIntN(64, v);
  return typeof v === 'number' && (t === 'f64' || Object.is(v, t === 'i32' ? v | 0 : Math.fround(v)));
}

const COMPARE: readonly string[] = ['lt', 'le', 'gt', 'ge', 'eq', 'ne'];

class Checker {
  private nodes = 0;
  private readonly declared = new Set<string>();
  constructor(
    private readonly code: Code,
    private readonly loadType: (buf: number) => Scalar | null,
  ) {}

  bad(message: string, found?: string, expected?: string): never {
    fail(this.code, `nest: ${message}`, { found, expected });
  }
  private same(found: string, expected: string, what: string): void {
    if (found !== expected) this.bad(`wrong type of ${what}`, found, expected);
  }
  private enter(depth: number): void {
    if (depth > MAX_NEST_DEPTH) this.bad('too deep', undefined, `at most ${MAX_NEST_DEPTH} levels`);
    if (++this.nodes > MAX_NEST_NODES) this.bad('too large', undefined, `at most ${MAX_NEST_NODES} nodes`);
  }
  declare(scope: Map<string, Scalar>, name: string, t: Scalar): void {
    if (!/^[A-Za-z]\w{0,63}$/.test(name)) this.bad('not an identifier', name);
    if (this.declared.has(name)) this.bad('a name is declared twice', name);
    this.declared.add(name);
    scope.set(name, t);
  }

  /** Type of a well-formed expression. */
  expr(x: Expr, scope: ReadonlyMap<string, Scalar>, depth: number): Scalar {
    this.enter(depth);
    const sub = (y: Expr): Scalar => this.expr(y, scope, depth + 1);
    if (!SCALARS.includes(x.t)) this.bad('unknown scalar type', String(x.t));
    switch (x.k) {
      case 'const':
        if (!fits(x.v, x.t)) this.bad('constant does not fit its type', String(x.v), x.t);
        break;
      case 'var': {
        const t = scope.get(x.name);
        if (!t) this.bad('undefined variable', x.name);
        this.same(x.t, t, x.name);
        break;
      }
      case 'load': {
        this.same(sub(x.at), 'i32', 'an index');
        const t = this.loadType(x.buf);
        if (!t) this.bad('unknown operand', String(x.buf));
        this.same(x.t, t, `operand ${x.buf}`);
        break;
      }
      case 'un': {
        const t = sub(x.x);
        if (!Object.hasOwn(UNARY, x.op) || !UNARY[x.op](t)) this.bad('unknown operation', `${x.op} of ${t}`);
        this.same(x.t, (x.op === 'bits' ? BITS[t] : x.op === 'frombits' ? FROMBITS[t] : t)!, x.op);
        break;
      }
      case 'bin':
        if (!Object.hasOwn(BINARY, x.op) || !BINARY[x.op](x.t)) this.bad('unknown operation', `${x.op} of ${x.t}`);
        this.same(sub(x.a), x.t, x.op);
        this.same(sub(x.b), x.t, x.op);
        break;
      case 'cmp':
        if (!COMPARE.includes(x.op)) this.bad('unknown operation', x.op);
        this.same(x.t, 'i32', x.op);
        this.same(sub(x.a), x.of, x.op);
        this.same(sub(x.b), x.of, x.op);
        break;
      case 'cast':
        sub(x.x);
        break;
      case 'sel':
        this.same(sub(x.c), 'i32', 'a condition');
        this.same(sub(x.a), x.t, 'a selection');
        this.same(sub(x.b), x.t, 'a selection');
        break;
      case 'call': {
        if (!Object.hasOwn(SCALAR_FUNCTIONS, x.fn)) this.bad('unknown function', x.fn);
        const { params } = SCALAR_FUNCTIONS[x.fn];
        if (x.args.length !== params.length) this.bad(`wrong number of arguments of ${x.fn}`, String(x.args.length), String(params.length));
        this.same(x.t, 'f32', x.fn);
        for (const a of x.args) this.same(sub(a), 'f32', `an argument of ${x.fn}`);
        break;
      }
      default:
        this.bad('unknown kind of expression', String((x as { k: unknown }).k));
    }
    return x.t;
  }

  /** Checks a block; its declarations leave `scope` at its end. */
  block(body: readonly Stmt[], scope: Map<string, Scalar>, depth: number): void {
    const declared: string[] = [];
    for (const s of body) {
      this.enter(depth);
      const type = (x: Expr): Scalar => this.expr(x, scope, depth + 1);
      switch (s.s) {
        case 'for': {
          this.same(type(s.n), 'i32', 'a loop extent');
          this.declare(scope, s.v, 'i32');
          this.block(s.body, scope, depth + 1);
          scope.delete(s.v);
          break;
        }
        case 'let':
          this.declare(scope, s.name, type(s.x));
          declared.push(s.name);
          break;
        case 'set': {
          const t = scope.get(s.name);
          if (!t) this.bad('undefined variable', s.name);
          this.same(type(s.x), t, s.name);
          break;
        }
        case 'store': {
          const t = this.loadType(s.buf);
          if (!t) this.bad('unknown operand', String(s.buf));
          this.same(type(s.at), 'i32', 'an index');
          this.same(type(s.x), t, `operand ${s.buf}`);
          break;
        }
        case 'if':
          this.same(type(s.c), 'i32', 'a condition');
          this.block(s.then, scope, depth + 1);
          this.block(s.else, scope, depth + 1);
          break;
        default:
          this.bad('unknown kind of statement', String((s as { s: unknown }).s));
      }
    }
    for (const name of declared) scope.delete(name);
  }
}

/**
 * Checks that every name is defined once and in scope, types agree, operations and functions exist and the size is bounded.
 * @throws `code` with what is wrong
 */
export function checkNest(nest: Nest, code: Code = 'E901'): void {
  const types = nest.operands.map((o) => scalarOf(o.dtype));
  new Checker(code, (buf) => types[buf] ?? null).block(nest.body, new Map(), 0);
}

/** The same for a scalar function, which also must not load and is limited to 32-bit types. @throws E901 */
export function checkScalarFunction(f: ScalarFunction): void {
  const checker = new Checker('E901', () => null);
  const scope = new Map<string, Scalar>();
  for (const p of f.params) checker.declare(scope, p, 'f32');
  for (const l of f.lets) {
    const t = checker.expr(l.x, scope, 0);
    if (t !== 'f32' && t !== 'i32') checker.bad('scalar functions are 32-bit', t);
    checker.declare(scope, l.name, t);
  }
  if (checker.expr(f.result, scope, 0) !== 'f32') checker.bad('a scalar function gives f32', f.result.t);
}
