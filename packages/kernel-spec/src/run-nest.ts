/** The reference of nests: each is compiled to a JavaScript function that follows the semantics of nest.ts exactly. */
import { fail } from '@bitloom/diagnostics';
import { rne } from '@bitloom/numerics';
import { DTYPES, type TypedArray } from '@bitloom/tensor';
import { checkNest } from './check-nest.js';
import type { Expr, Nest, NestOperand, Stmt } from './nest.js';
import { SCALAR_FUNCTIONS } from './scalar-functions.js';

/** Converts i64 → f32 with one rounding: bits below a double's precision are gathered into one sticky bit first. */
function i64ToF32(x: bigint): number {
  const exact = BigInt.asIntN(53, x) === x ? x : ((x >> 11n) << 11n) | ((x & 0x7ffn) === 0n ? 0n : 0x400n);
  return Math.fround(Number(exact));
}

const word = new DataView(new ArrayBuffer(8));

/** What generated code calls, by the names it uses. */
const RUNTIME = {
  F: Math.fround,
  M: Math.imul,
  sqrt: Math.sqrt,
  floor: Math.floor,
  ceil: Math.ceil,
  trunc: Math.trunc,
  fmin: Math.min,
  fmax: Math.max,
  fabs: Math.abs,
  nearest: rne,
  wrap: (x: bigint): bigint => BigInt.asIntN(64, x),
  iabs: (x: number): number => (x < 0 ? -x | 0 : x),
  labs: (x: bigint): bigint => BigInt.asIntN(64, x < 0n ? -x : x),
  idiv: (a: number, b: number): number => (b === 0 ? 0 : (a / b) | 0),
  irem: (a: number, b: number): number => (b === 0 ? 0 : a % b | 0),
  ldiv: (a: bigint, b: bigint): bigint => (b === 0n ? 0n : BigInt.asIntN(64, a / b)),
  lrem: (a: bigint, b: bigint): bigint => (b === 0n ? 0n : a % b),
  lushr: (a: bigint, b: bigint): bigint => BigInt.asIntN(64, BigInt.asUintN(64, a) >> (b & 63n)),
  pmin: <T extends number | bigint>(a: T, b: T): T => (b < a ? b : a),
  pmax: <T extends number | bigint>(a: T, b: T): T => (a < b ? b : a),
  ftoi: (x: number): number => (x >= 2147483647 ? 2147483647 : x <= -2147483648 ? -2147483648 : x | 0),
  ftol: (x: number): bigint =>
    x !== x ? 0n : x >= 2 ** 63 ? 2n ** 63n - 1n : x <= -(2 ** 63) ? -(2n ** 63n) : BigInt(Math.trunc(x)),
  ltoi: (x: bigint): number => Number(BigInt.asIntN(32, x)),
  ltof: i64ToF32,
  fbits: (x: number): number => {
    if (x !== x) return 0x7fc00000;
    word.setFloat32(0, x);
    return word.getInt32(0);
  },
  dbits: (x: number): bigint => {
    if (x !== x) return 0x7ff8000000000000n;
    word.setFloat64(0, x);
    return word.getBigInt64(0);
  },
  bitsf: (x: number): number => {
    word.setInt32(0, x);
    return word.getFloat32(0);
  },
  bitsd: (x: bigint): number => {
    word.setBigInt64(0, x);
    return word.getFloat64(0);
  },
  /** A call, so that both arms are evaluated and an access outside an operand is noticed in either. */
  sel: <T extends number | bigint>(c: number, a: T, b: T): T => (c ? a : b),
  /** An index within its operand. */
  at: (i: number, n: number): number =>
    (i >>> 0 < n ? i : fail('E901', 'nest: access outside its operand', { found: `element ${i}`, expected: `below ${n}` })),
} as const;

const UNARY_INT: Readonly<Record<string, (x: string) => string>> = {
  'neg i32': (x) => `(-${x}|0)`,
  'abs i32': (x) => `iabs(${x})`,
  'neg i64': (x) => `wrap(-${x})`,
  'abs i64': (x) => `labs(${x})`,
  'frombits i32': (x) => `bitsf(${x})`,
  'frombits i64': (x) => `bitsd(${x})`,
  'bits f32': (x) => `fbits(${x})`,
  'bits f64': (x) => `dbits(${x})`,
};

const BINARY: Readonly<Record<'i32' | 'i64' | 'f', Readonly<Record<string, (a: string, b: string) => string>>>> = {
  i32: {
    add: (a, b) => `(${a}+${b}|0)`,
    sub: (a, b) => `(${a}-${b}|0)`,
    mul: (a, b) => `M(${a},${b})`,
    div: (a, b) => `idiv(${a},${b})`,
    rem: (a, b) => `irem(${a},${b})`,
    min: (a, b) => `pmin(${a},${b})`,
    max: (a, b) => `pmax(${a},${b})`,
    and: (a, b) => `(${a}&${b})`,
    or: (a, b) => `(${a}|${b})`,
    xor: (a, b) => `(${a}^${b})`,
    shl: (a, b) => `(${a}<<${b})`,
    shr: (a, b) => `(${a}>>${b})`,
    ushr: (a, b) => `(${a}>>>${b}|0)`,
  },
  i64: {
    add: (a, b) => `wrap(${a}+${b})`,
    sub: (a, b) => `wrap(${a}-${b})`,
    mul: (a, b) => `wrap(${a}*${b})`,
    div: (a, b) => `ldiv(${a},${b})`,
    rem: (a, b) => `lrem(${a},${b})`,
    min: (a, b) => `pmin(${a},${b})`,
    max: (a, b) => `pmax(${a},${b})`,
    and: (a, b) => `(${a}&${b})`,
    or: (a, b) => `(${a}|${b})`,
    xor: (a, b) => `(${a}^${b})`,
    shl: (a, b) => `wrap(${a}<<(${b}&63n))`,
    shr: (a, b) => `(${a}>>(${b}&63n))`,
    ushr: (a, b) => `lushr(${a},${b})`,
  },
  f: {
    add: (a, b) => `(${a}+${b})`,
    sub: (a, b) => `(${a}-${b})`,
    mul: (a, b) => `(${a}*${b})`,
    div: (a, b) => `(${a}/${b})`,
    min: (a, b) => `fmin(${a},${b})`,
    max: (a, b) => `fmax(${a},${b})`,
  },
};

const ROUNDED = ['add', 'sub', 'mul', 'div'];
const COMPARE = { lt: '<', le: '<=', gt: '>', ge: '>=', eq: '===', ne: '!==' } as const;

const CAST: Readonly<Record<string, (x: string) => string>> = {
  'i32 i64': (x) => `BigInt(${x})`,
  'i32 f32': (x) => `F(${x})`,
  'i64 i32': (x) => `ltoi(${x})`,
  'i64 f32': (x) => `ltof(${x})`,
  'i64 f64': (x) => `Number(${x})`,
  'f32 i32': (x) => `ftoi(${x})`,
  'f32 i64': (x) => `ftol(${x})`,
  'f64 i32': (x) => `ftoi(${x})`,
  'f64 i64': (x) => `ftol(${x})`,
  'f64 f32': (x) => `F(${x})`,
};

/** Names are replaced by numbered ones, so that no text of a nest reaches the generated code. */
class Printer {
  private readonly names = new Map<string, string>();
  constructor(private readonly operands: readonly NestOperand[]) {}

  name(name: string): string {
    let n = this.names.get(name);
    if (!n) this.names.set(name, (n = `v${this.names.size}`));
    return n;
  }

  /** A parenthesised JavaScript expression. */
  expr(x: Expr): string {
    switch (x.k) {
      case 'const':
        return x.t === 'i64' ? `(${x.v}n)` : Object.is(x.v, -0) ? '(-0)' : `(${x.v})`;
      case 'var':
        return this.name(x.name);
      case 'load': {
        const { dtype } = this.operands[x.buf];
        const raw = this.access(x.buf, x.at);
        return dtype === 'u32' ? `BigInt(${raw})` : dtype === 'u64' ? `wrap(${raw})` : raw;
      }
      case 'un': {
        const inner = this.expr(x.x);
        const int = UNARY_INT[`${x.op} ${x.x.t}`];
        if (int) return int(inner);
        if (x.op === 'neg') return `(-${inner})`;
        if (x.op === 'sqrt') return x.t === 'f32' ? `F(sqrt(${inner}))` : `sqrt(${inner})`;
        return `${x.op === 'abs' ? 'fabs' : x.op}(${inner})`;
      }
      case 'bin': {
        const [a, b] = [this.expr(x.a), this.expr(x.b)];
        if (x.op === 'pmin' || x.op === 'pmax') return `${x.op}(${a},${b})`;
        const js = BINARY[x.t === 'i32' || x.t === 'i64' ? x.t : 'f'][x.op](a, b);
        return x.t === 'f32' && ROUNDED.includes(x.op) ? `F${js}` : js;
      }
      case 'cmp':
        return `(${this.expr(x.a)}${COMPARE[x.op]}${this.expr(x.b)}?1:0)`;
      case 'cast': {
        const inner = this.expr(x.x);
        return CAST[`${x.x.t} ${x.t}`]?.(inner) ?? inner;
      }
      case 'sel':
        return `sel(${this.expr(x.c)},${this.expr(x.a)},${this.expr(x.b)})`;
      case 'call':
        return `S.${x.fn}(${x.args.map((a) => this.expr(a)).join(',')})`;
    }
  }

  private access(buf: number, at: Expr): string {
    return `a${buf}[at(${this.expr(at)},${this.operands[buf].elements})]`;
  }

  block(body: readonly Stmt[]): string {
    return body.map((s) => this.stmt(s)).join('\n');
  }

  private stmt(s: Stmt): string {
    switch (s.s) {
      case 'for': {
        const n = this.expr(s.n);
        const v = this.name(s.v);
        return `for(let ${v}=0,n=${n};${v}<n;${v}++){\n${this.block(s.body)}\n}`;
      }
      case 'let':
        return `let ${this.name(s.name)}=${this.expr(s.x)};`;
      case 'set':
        return `${this.name(s.name)}=${this.expr(s.x)};`;
      case 'store': {
        const x = this.expr(s.x);
        return `${this.access(s.buf, s.at)}=${this.operands[s.buf].dtype === 'u32' ? `ltoi(${x})` : x};`;
      }
      case 'if':
        return `if(${this.expr(s.c)}){\n${this.block(s.then)}\n}else{\n${this.block(s.else)}\n}`;
    }
  }
}

const RUNTIME_NAMES = `const {${Object.keys(RUNTIME).join(',')}}=H;`;

type ScalarImplementation = (...args: number[]) => number;

let scalars: Readonly<Record<string, ScalarImplementation>> | null = null;

/** SCALAR_FUNCTIONS as JavaScript functions of f32 values. */
export function scalarImplementations(): Readonly<Record<string, ScalarImplementation>> {
  if (scalars) return scalars;
  const functions = Object.entries(SCALAR_FUNCTIONS).map(([name, f]) => {
    const p = new Printer([]);
    const params = f.params.map((v) => p.name(v)).join(',');
    const lets = f.lets.map((l) => `const ${p.name(l.name)}=${p.expr(l.x)};`).join('\n');
    return `S.${name}=(${params})=>{\n${lets}\nreturn ${p.expr(f.result)};\n};`;
  });
  scalars = new Function('H', `${RUNTIME_NAMES}\nconst S={};\n${functions.join('\n')}\nreturn S;`)(RUNTIME) as typeof scalars;
  return scalars!;
}

type Compiled = (operands: readonly TypedArray[]) => void;
const cache = new WeakMap<Nest, Compiled>();

function compile(nest: Nest): Compiled {
  checkNest(nest);
  const body = new Printer(nest.operands).block(nest.body);
  const operands = nest.operands.map((_, i) => `a${i}`).join(',');
  return new Function('H', 'S', `${RUNTIME_NAMES}\nreturn ([${operands}])=>{\n${body}\n};`)(RUNTIME, scalarImplementations()) as Compiled;
}

/**
 * Runs a nest over its operands (args, then results), exactly as every backend must.
 * @throws E901 when the nest is malformed, an operand is not of the declared type and length, or an index leaves its operand
 */
export function runNest(nest: Nest, operands: readonly TypedArray[]): void {
  if (operands.length !== nest.operands.length) {
    fail('E901', 'nest: wrong number of operands', { found: String(operands.length), expected: String(nest.operands.length) });
  }
  nest.operands.forEach((o, i) => {
    if (operands[i].length !== o.elements || !(operands[i] instanceof DTYPES[o.dtype].array)) {
      const found = `${operands[i].length} elements of ${operands[i].constructor.name}`;
      fail('E901', `nest: operand ${i} is not as declared`, { found, expected: `${o.elements} elements of ${o.dtype}` });
    }
  });
  let f = cache.get(nest);
  if (!f) cache.set(nest, (f = compile(nest)));
  f(operands);
}
