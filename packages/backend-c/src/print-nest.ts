/** Prints nests and scalar functions as C99. The semantics are those at the top of nest.ts of @bitloom/kernel-spec. */
import { type BinaryOp, type Expr, I32_RANGE, type Nest, type NestOperand, Ranges, SCALAR_FUNCTIONS, type Scalar, type Stmt, checkNest, childrenOf } from '@bitloom/kernel-spec';
import { splitBytes } from './split-bytes.js';
import { C_SCALAR, C_TYPE, floatLiteral, identifier, intLiteral } from './c-text.js';

/** The largest number of each type that C's conversion to int32_t takes. */
const LARGEST_TO_I32: Readonly<Record<'f32' | 'f64', number>> = { f32: 2147483520, f64: 2147483647 };
const fits = (lo: number, hi: number): boolean => lo >= I32_RANGE.lo && hi <= I32_RANGE.hi;

const COMPARE = { lt: '<', le: '<=', gt: '>', ge: '>=', eq: '==', ne: '!=' } as const;
const ARITHMETIC: Partial<Readonly<Record<BinaryOp, string>>> = { add: '+', sub: '-', mul: '*', div: '/', rem: '%' };
const BITWISE: Partial<Readonly<Record<BinaryOp, string>>> = { and: '&', or: '|', xor: '^' };

/** Drops one pair of parentheses around a whole expression. */
function bare(text: string): string {
  if (!text.startsWith('(')) return text;
  let depth = 0;
  for (let i = 0; i < text.length; i++) {
    if (text[i] === '(') depth++;
    else if (text[i] === ')' && --depth === 0) return i === text.length - 1 ? text.slice(1, -1) : text;
  }
  return text;
}

/** Operand text as unsigned; drops the cast of a wrapped result back to signed. */
const unsigned = (text: string, bits: number): string =>
  text.startsWith(`(int${bits}_t)((uint${bits}_t)`) ? text.slice(`(int${bits}_t)`.length) : `(uint${bits}_t)${text}`;

class Printer {
  private readonly names = new Map<string, string>();
  private shared = new Map<Expr, string>();
  private temporaries = 0;
  readonly lines: string[] = [];
  /** Operands that are loaded or stored, and stored. */
  readonly used = new Set<number>();
  readonly stored = new Set<number>();

  constructor(
    private readonly operands: readonly NestOperand[],
    private readonly assigned: ReadonlySet<string>,
    private readonly read: ReadonlySet<string>,
    private readonly ranges: Ranges,
  ) {}

  /** Distinct from operands (p0 …), shared subexpressions (s0 …) and functions. */
  name(name: string): string {
    let id = this.names.get(name);
    if (!id) {
      id = identifier(name);
      if (/^[ps]\d+$/.test(id) || id.startsWith('bl_')) id = `v_${id}`;
      while ([...this.names.values()].includes(id)) id += '_';
      this.names.set(name, id);
    }
    return id;
  }

  /** Text that can be an operand of anything. */
  expr(x: Expr): string {
    const name = this.shared.get(x);
    if (name) return name;
    switch (x.k) {
      case 'const':
        return x.t === 'f32' || x.t === 'f64' ? floatLiteral(Number(x.v), x.t) : intLiteral(x.v, x.t);
      case 'var':
        return this.name(x.name);
      case 'load': {
        this.used.add(x.buf);
        const element = `p${x.buf}[${bare(this.expr(x.at))}]`;
        const { dtype } = this.operands[x.buf];
        return dtype === 'u32' || dtype === 'u64' ? `(int64_t)${element}` : element;
      }
      case 'un':
        return this.unary(x.op, x.x);
      case 'bin':
        return this.binary(x.op, x.t, x.a, x.b);
      case 'cmp':
        return `(${this.expr(x.a)} ${COMPARE[x.op]} ${this.expr(x.b)})`;
      case 'cast': {
        const [to, from, inner] = [x.t, x.x.t, this.expr(x.x)];
        if (to === from) return inner;
        const truncating = (to === 'i32' || to === 'i64') && (from === 'f32' || from === 'f64');
        if (truncating && to === 'i32' && this.ranges.within(x.x, I32_RANGE.lo, LARGEST_TO_I32[from])) return `(int32_t)${inner}`;
        if (truncating) return `bl_${to}_${from}(${bare(inner)})`;
        return to === 'i32' ? `(int32_t)(uint32_t)${inner}` : `(${C_SCALAR[to]})${inner}`;
      }
      case 'sel':
        return `(${this.condition(x.c)} ? ${this.expr(x.a)} : ${this.expr(x.b)})`;
      case 'call':
        return `bl_fn_${x.fn}(${x.args.map((a) => bare(this.expr(a))).join(', ')})`;
    }
  }

  /** A truth value; numbers are compared with 0, since compilers warn of arithmetic in conditions. */
  private condition(x: Expr): string {
    const truth = (y: Expr): boolean => y.k === 'cmp' || (y.k === 'bin' && (y.op === 'and' || y.op === 'or') && truth(y.a) && truth(y.b));
    return truth(x) ? this.expr(x) : `(${this.expr(x)} != 0)`;
  }

  /** The number that pmin(hi, pmax(+0, number)) clamps. */
  private clamped(hi: Expr, above: Expr): Expr | null {
    if (hi.k !== 'const' || !(Number(hi.v) > 0) || above.k !== 'bin' || above.op !== 'pmax' || this.shared.has(above)) return null;
    return above.a.k === 'const' && Object.is(Number(above.a.v), 0) && this.ranges.float(above.b) ? above.b : null;
  }

  private unary(op: (Expr & { k: 'un' })['op'], x: Expr): string {
    const inner = this.expr(x);
    const int = x.t === 'i32' || x.t === 'i64';
    if (op === 'neg') {
      if (!int) return `(-${inner})`;
      return `(${C_SCALAR[x.t]})(0u - ${unsigned(inner, x.t === 'i32' ? 32 : 64)})`;
    }
    const arg = bare(inner);
    if (op === 'nearest' && this.ranges.rounds(x)) return `bl_near_f32(${arg})`;
    if (op === 'sqrt') return x.t === 'f32' ? `sqrtf(${arg})` : `sqrt(${arg})`;
    if (op === 'frombits') return x.t === 'i32' ? `bl_from_f32(${unsigned(inner, 32)})` : `bl_from_f64(${unsigned(inner, 64)})`;
    return `bl_${op}_${x.t}(${arg})`;
  }

  private binary(op: BinaryOp, t: Scalar, xa: Expr, xb: Expr): string {
    const [a, b] = [this.expr(xa), this.expr(xb)];
    if (t === 'f32' || t === 'f64') {
      const clamped = t === 'f32' && op === 'pmin' ? this.clamped(xa, xb) : null;
      if (clamped) return `bl_clamp_f32(${bare(this.expr(clamped))}, ${a})`;
      if (op in ARITHMETIC) return `(${C_SCALAR[t]})(${a} ${ARITHMETIC[op]} ${b})`;
      return `bl_${op}_${t}(${bare(a)}, ${bare(b)})`;
    }
    // The casts say that `&` of comparisons is meant: unlike `&&` it has no branch.
    if (op in BITWISE) return `(${[xa, xb].map((y, i) => `${y.k === 'cmp' ? '(int32_t)' : ''}${[a, b][i]}`).join(` ${BITWISE[op]} `)})`;
    const c = C_SCALAR[t];
    const width = t === 'i32' ? 32 : 64;
    switch (op) {
      case 'add':
      case 'sub':
      case 'mul': {
        const { lo, hi } = this.ranges.exact(op, xa, xb);
        if (t === 'i32' && fits(lo, hi)) return `(${a} ${ARITHMETIC[op]} ${b})`;
        return `(${c})(${unsigned(a, width)} ${ARITHMETIC[op]} ${unsigned(b, width)})`;
      }
      case 'div':
      case 'rem': {
        const plain = xb.k === 'const' ? Number(xb.v) !== 0 && Number(xb.v) !== -1 : t === 'i32' && this.ranges.int(xb).lo > 0;
        return plain ? `(${a} ${ARITHMETIC[op]} ${b})` : `bl_${op}_${t}(${bare(a)}, ${bare(b)})`;
      }
      case 'min':
      case 'pmin':
        return `bl_min_${t}(${bare(a)}, ${bare(b)})`;
      case 'max':
      case 'pmax':
        return `bl_max_${t}(${bare(a)}, ${bare(b)})`;
      default: {
        const count = xb.k === 'const' ? `${Number(BigInt(xb.v) & BigInt(width - 1))}` : `(${unsigned(b, width)} & ${width - 1}u)`;
        if (op === 'shl') return `(${c})(${unsigned(a, width)} << ${count})`;
        if (op === 'ushr') return `(${c})(${unsigned(a, width)} >> ${count})`;
        return `bl_shr_${t}(${bare(a)}, ${xb.k === 'const' ? count : `(unsigned)${count}`})`;
      }
    }
  }

  /** Emits a constant for every subexpression object that occurs more than once in the statement, so that text stays linear in the DAG. */
  share(roots: readonly Expr[], indent: string): void {
    this.shared = new Map();
    const seen = new Set<Expr>();
    const twice = new Set<Expr>();
    const order: Expr[] = [];
    const visit = (x: Expr): void => {
      if (x.k === 'const' || x.k === 'var') return;
      if (seen.has(x)) {
        twice.add(x);
        return;
      }
      seen.add(x);
      childrenOf(x).forEach(visit);
      order.push(x);
    };
    roots.forEach(visit);
    for (const x of order) {
      if (!twice.has(x)) continue;
      const name = `s${this.temporaries++}`;
      // Compilers compare bytes in lanes of bytes only where they are of that type.
      const type = x.k === 'load' && this.operands[x.buf].dtype === 'u8' ? C_TYPE.u8 : C_SCALAR[x.t];
      this.lines.push(`${indent}const ${type} ${name} = ${bare(this.expr(x))};`);
      this.shared.set(x, name);
    }
  }

  block(body: readonly Stmt[], indent: string): void {
    for (const s of body) this.stmt(s, indent);
  }

  private stmt(s: Stmt, indent: string): void {
    const line = (text: string): void => void this.lines.push(indent + text);
    switch (s.s) {
      case 'for': {
        this.share([s.n], indent);
        const v = this.name(s.v);
        const n = bare(this.expr(s.n));
        if (s.n.k === 'const' || (s.n.k === 'var' && !this.assigned.has(s.n.name))) line(`for (int32_t ${v} = 0; ${v} < ${n}; ${v}++) {`);
        else line(`for (int32_t ${v} = 0, ${v}_end = ${n}; ${v} < ${v}_end; ${v}++) {`);
        this.block(s.body, `${indent}  `);
        line('}');
        break;
      }
      case 'let':
      case 'set': {
        // What is never read has no effect, and would be warned about.
        if (!this.read.has(s.name) || (s.s === 'set' && s.x.k === 'var' && s.x.name === s.name)) break;
        this.share([s.x], indent);
        const text = `${this.name(s.name)} = ${bare(this.expr(s.x))};`;
        line(s.s === 'set' ? text : `${this.assigned.has(s.name) ? '' : 'const '}${C_SCALAR[s.x.t]} ${text}`);
        break;
      }
      case 'store': {
        this.used.add(s.buf);
        this.stored.add(s.buf);
        this.share([s.at, s.x], indent);
        const { dtype } = this.operands[s.buf];
        const value = this.expr(s.x);
        const plain = dtype === 'f32' || dtype === 'f64' || dtype === 'i32' || dtype === 'i64';
        line(`p${s.buf}[${bare(this.expr(s.at))}] = ${plain ? bare(value) : `(${C_TYPE[dtype]})${value}`};`);
        break;
      }
      case 'if': {
        this.share([s.c], indent);
        line(`if (${bare(this.condition(s.c))}) {`);
        this.block(s.then, `${indent}  `);
        if (s.else.length) {
          line('} else {');
          this.block(s.else, `${indent}  `);
        }
        line('}');
        break;
      }
    }
  }
}

/** Names that occur in `set`, and names whose value reaches a store, a loop extent or a condition. */
function nameUse(body: readonly Stmt[]): { assigned: Set<string>; read: Set<string> } {
  const assigned = new Set<string>();
  const read = new Set<string>();
  const definitions: { readonly name: string; readonly x: Expr }[] = [];
  const seen = new Set<Expr>();
  const visit = (x: Expr): void => {
    if (seen.has(x)) return;
    seen.add(x);
    if (x.k === 'var') read.add(x.name);
    childrenOf(x).forEach(visit);
  };
  const block = (b: readonly Stmt[]): void => {
    for (const s of b) {
      if (s.s === 'let' || s.s === 'set') definitions.push(s);
      if (s.s === 'set') assigned.add(s.name);
      if (s.s === 'for') visit(s.n);
      if (s.s === 'if') visit(s.c);
      if (s.s === 'store') [s.at, s.x].forEach(visit);
      if (s.s === 'for') block(s.body);
      if (s.s === 'if') [s.then, s.else].forEach(block);
    }
  };
  block(body);
  for (let before = -1; before !== read.size;) {
    before = read.size;
    for (const d of definitions) if (read.has(d.name)) visit(d.x);
  }
  return { assigned, read };
}

export interface PrintedNest {
  /** The whole function, named `name`. */
  readonly code: string;
  /** Per operand: whether it is stored to; others are passed as pointers to const. */
  readonly stored: readonly boolean[];
}

/**
 * A nest as a static function `void name(operands…)`. Text is equal for equal nests and names.
 * @throws E901 when the nest is malformed
 */
export function printNest(nest: Nest, name: string): PrintedNest {
  checkNest(nest);
  const { body } = splitBytes(nest);
  const { assigned, read } = nameUse(body);
  const p = new Printer(nest.operands, assigned, read, new Ranges(nest.operands, body));
  p.block(body, '  ');
  const stored = nest.operands.map((_, i) => p.stored.has(i));
  const params = nest.operands.map((o, i) => `${stored[i] ? '' : 'const '}${C_TYPE[o.dtype]} *restrict p${i}`);
  const unused = nest.operands.flatMap((_, i) => (p.used.has(i) ? [] : [`  (void)p${i};`]));
  const code = [`static BL_NOINLINE void ${name}(${params.join(', ') || 'void'})`, '{', ...unused, ...p.lines, '}'].join('\n');
  return { code, stored };
}

/** SCALAR_FUNCTIONS that `text` calls (`bl_fn_…`), and those that they call, as static functions in dependency order. */
export function scalarFunctionCode(text: string): string {
  const done = new Map<string, string>();
  const add = (name: string): void => {
    if (done.has(name)) return;
    const f = SCALAR_FUNCTIONS[name];
    const body: Stmt[] = f.lets.map((l) => ({ s: 'let', name: l.name, x: l.x }));
    const { read } = nameUse([...body, { s: 'if', c: f.result, then: [], else: [] }]);
    const p = new Printer([], new Set(), read, new Ranges([], body));
    const params = f.params.map((v) => `float ${p.name(v)}`).join(', ');
    p.block(body, '  ');
    p.share([f.result], '  ');
    const result = bare(p.expr(f.result));
    const code = [`static inline float bl_fn_${name}(${params})`, '{', ...p.lines, `  return ${result};`, '}'].join('\n');
    callsIn(code).filter((c) => c !== name).forEach(add);
    done.set(name, code);
  };
  callsIn(text).forEach(add);
  return [...done.values()].map((c) => `${c}\n\n`).join('');
}

const callsIn = (text: string): string[] => [...new Set([...text.matchAll(/\bbl_fn_(\w+)\(/g)].map((m) => m[1]))];
