/**
 * Prints nests and scalar functions as WebAssembly text. Loops whose iterations are independent and contiguous run four lanes
 * at a time where SIMD is allowed; every lane computes exactly what the scalar loop would, so results do not change.
 */
import { fail } from '@bitloom/diagnostics';
import {
  type BinaryOp, type CompareOp, type Expr, type KnownBytes, type Nest, type NestOperand, ROUNDER, Ranges, SCALAR_FUNCTIONS, type Scalar, type Stmt, type UnaryOp,
  checkNest, childrenOf, e, expressionsOf, madeOf, perNode, saturating, statementsOf, tableOf,
} from '@bitloom/kernel-spec';
import { type DType, DTYPES } from '@bitloom/tensor';
import { printTable } from './bytes.js';
import { prepareNest, writesOf } from './prepare-nest.js';

type WasmType = Scalar | 'v128';

/** Lanes of a v128 of 32-bit elements. */
const LANES = 4;
/** Vectors at a time where a loop stores bytes. */
const PARTS = 4;

const LOAD: Readonly<Record<DType, string>> = {
  f32: 'f32.load', f64: 'f64.load', i64: 'i64.load', u64: 'i64.load', u32: 'i64.load32_u', i32: 'i32.load',
  i16: 'i32.load16_s', u16: 'i32.load16_u', i8: 'i32.load8_s', u8: 'i32.load8_u', bool: 'i32.load8_u',
};
const STORE: Readonly<Record<DType, string>> = {
  f32: 'f32.store', f64: 'f64.store', i64: 'i64.store', u64: 'i64.store', u32: 'i64.store32', i32: 'i32.store',
  i16: 'i32.store16', u16: 'i32.store16', i8: 'i32.store8', u8: 'i32.store8', bool: 'i32.store8',
};
/** Four consecutive elements as four 32-bit lanes. */
const LOAD4: Readonly<Partial<Record<DType, (address: string, offset: string) => string>>> = {
  f32: (a, o) => `(v128.load ${o}align=4 ${a})`,
  i32: (a, o) => `(v128.load ${o}align=4 ${a})`,
  i16: (a, o) => `(v128.load16x4_s ${o}align=2 ${a})`,
  u16: (a, o) => `(v128.load16x4_u ${o}align=2 ${a})`,
  i8: (a) => `(i32x4.extend_low_i16x8_s (i16x8.extend_low_i8x16_s (v128.load32_zero align=1 ${a})))`,
  u8: (a) => `(i32x4.extend_low_i16x8_u (i16x8.extend_low_i8x16_u (v128.load32_zero align=1 ${a})))`,
  bool: (a) => `(i32x4.extend_low_i16x8_u (i16x8.extend_low_i8x16_u (v128.load32_zero align=1 ${a})))`,
};
/** Sign of the extension of bytes. */
const BYTE: Readonly<Partial<Record<DType, 's' | 'u'>>> = { i8: 's', u8: 'u', bool: 'u' };
/** Four of 16 bytes. */
const quarter = (sign: 's' | 'u', part: number, v: string): string =>
  `(i32x4.extend_${part % 2 ? 'high' : 'low'}_i16x8_${sign} (i16x8.extend_${part < 2 ? 'low' : 'high'}_i8x16_${sign} ${v}))`;
/** Low bytes (or halves) of the four lanes side by side, as stores wrap; `v` names a scratch local. */
const narrow = (bytes: number, x: string, v: string): string => {
  const lanes = Array.from({ length: 16 }, (_, i) => (i < 4 * bytes ? Math.floor(i / bytes) * 4 + (i % bytes) : 0));
  return `(i8x16.shuffle ${lanes.join(' ')} (local.tee ${v} ${x}) (local.get ${v}))`;
};
type Store4 = (address: string, x: string, v: string) => string;
const store32: Store4 = (a, x) => `(v128.store align=4 ${a} ${x})`;
const store16: Store4 = (a, x, v) => `(v128.store64_lane align=2 0 ${a} ${narrow(2, x, v)})`;
const store8: Store4 = (a, x, v) => `(v128.store32_lane align=1 0 ${a} ${narrow(1, x, v)})`;
const STORE4: Readonly<Partial<Record<DType, Store4>>> = {
  f32: store32, i32: store32, i16: store16, u16: store16, i8: store8, u8: store8, bool: store8,
};

/** Bytes of each lane's element where lanes are stored one by one. */
const LANE_BYTES: Readonly<Partial<Record<DType, 1 | 2 | 4>>> = { f32: 4, i32: 4, i16: 2, u16: 2, i8: 1, u8: 1, bool: 1 };

const INT_BINARY: Readonly<Partial<Record<BinaryOp, string>>> = {
  add: 'add', sub: 'sub', mul: 'mul', and: 'and', or: 'or', xor: 'xor', shl: 'shl', shr: 'shr_s', ushr: 'shr_u',
};
const FLOAT_BINARY: Readonly<Partial<Record<BinaryOp, string>>> = { add: 'add', sub: 'sub', mul: 'mul', div: 'div', min: 'min', max: 'max' };
const VECTOR_INT_BINARY: Readonly<Partial<Record<BinaryOp, string>>> = {
  add: 'i32x4.add', sub: 'i32x4.sub', mul: 'i32x4.mul', and: 'v128.and', or: 'v128.or', xor: 'v128.xor',
  min: 'i32x4.min_s', max: 'i32x4.max_s', pmin: 'i32x4.min_s', pmax: 'i32x4.max_s',
};
const VECTOR_SHIFT: Readonly<Partial<Record<BinaryOp, string>>> = { shl: 'i32x4.shl', shr: 'i32x4.shr_s', ushr: 'i32x4.shr_u' };
const CAST: Readonly<Record<string, string>> = {
  'i32 i64': 'i64.extend_i32_s', 'i32 f32': 'f32.convert_i32_s', 'i32 f64': 'f64.convert_i32_s',
  'i64 i32': 'i32.wrap_i64', 'i64 f32': 'f32.convert_i64_s', 'i64 f64': 'f64.convert_i64_s',
  'f32 i32': 'i32.trunc_sat_f32_s', 'f32 i64': 'i64.trunc_sat_f32_s', 'f32 f64': 'f64.promote_f32',
  'f64 i32': 'i32.trunc_sat_f64_s', 'f64 i64': 'i64.trunc_sat_f64_s', 'f64 f32': 'f32.demote_f64',
};
const CANONICAL_NAN = { f32: '(i32.const 0x7fc00000)', f64: '(i64.const 0x7ff8000000000000)' } as const;

const isFloat = (t: Scalar): t is 'f32' | 'f64' => t === 'f32' || t === 'f64';
const compareOp = (op: CompareOp, float: boolean): string => (float || op === 'eq' || op === 'ne' ? op : `${op}_s`);
const shape = (t: Scalar): string => (t === 'f32' ? 'f32x4' : 'i32x4');

/** Literal of a scalar constant; decimal notation of a double reads back exactly. */
export function constantText(t: Scalar, v: number | bigint): string {
  if (typeof v === 'bigint' || !isFloat(t)) return `(${t}.const ${v})`;
  const text = Number.isNaN(v) ? 'nan' : v === Infinity ? 'inf' : v === -Infinity ? '-inf' : Object.is(v, -0) ? '-0' : String(v);
  return `(${t}.const ${text})`;
}

/** Division as nests define it: zero for a zero divisor, and no trap for the one overflow. */
const GUARDED: Readonly<Record<string, string>> = Object.fromEntries(
  (['i32', 'i64'] as const).flatMap((t) => [
    [`div_${t}`, `(func $div_${t} (param $a ${t}) (param $b ${t}) (result ${t})
  (if (${t}.eqz (local.get $b)) (then (return (${t}.const 0))))
  (if (${t}.eq (local.get $b) (${t}.const -1)) (then (return (${t}.sub (${t}.const 0) (local.get $a)))))
  (${t}.div_s (local.get $a) (local.get $b)))`],
    [`rem_${t}`, `(func $rem_${t} (param $a ${t}) (param $b ${t}) (result ${t})
  (if (${t}.eqz (local.get $b)) (then (return (${t}.const 0))))
  (${t}.rem_s (local.get $a) (local.get $b)))`],
  ]),
);

/** How a local of a vectorised loop's body is kept: a scalar whose lanes differ by a stride (0: uniform), or a vector. */
type Kind = number | 'vector';
type Kinds = ReadonlyMap<string, Kind>;

/** What the expressions of a vectorised loop depend on. */
interface VectorScope {
  readonly kinds: Kinds;
  readonly stride: (x: Expr) => number | null;
  /** Load-free and not changed by the loop. */
  readonly invariant: (x: Expr) => boolean;
  /** Text → local of what is computed in front of the loop; null where there is no loop. */
  readonly hoisted: Map<string, string> | null;
}

/** Of a store in a loop of {@link PARTS} vectors: the text of its bytes where that is known, and the local that keeps them for others. */
interface WideStore {
  readonly text: string | null;
  readonly kept: string | null;
}

/** Lane stride of an affine i32 expression, 0 for a uniform expression of any type, null otherwise. */
const strides = (kinds: Kinds): ((x: Expr) => number | null) =>
  perNode<number | null>((x, self) => {
    if (x.k === 'var') {
      const kind = kinds.get(x.name) ?? 0;
      return kind === 'vector' ? null : kind;
    }
    const c = childrenOf(x).map(self);
    if (c.every((s) => s === 0)) return 0;
    if (x.k !== 'bin' || x.t !== 'i32' || c.includes(null)) return null;
    const [a, b] = c as number[];
    if (x.op === 'add') return (a + b) | 0;
    if (x.op === 'sub') return (a - b) | 0;
    if (x.op === 'mul' && x.b.k === 'const') return Math.imul(a, Number(x.b.v));
    if (x.op === 'mul' && x.a.k === 'const') return Math.imul(b, Number(x.a.v));
    return null;
  });

/** Names of functions that printed code calls: see {@link supportFunctions}. */
export type Uses = Set<string>;

class FunctionPrinter {
  private readonly locals: { name: string; type: WasmType }[] = [];
  private readonly names = new Map<string, string>();
  private readonly lines: string[] = [];
  private readonly free: Record<WasmType, string[]> = { i32: [], i64: [], f32: [], f64: [], v128: [] };
  private depth = 1;
  private labels = 0;
  /** Edges to each node of the current statement's expressions, and the locals that hold the nodes with several. */
  private edges = new Map<Expr, number>();
  private values = new Map<Expr, string>();
  private vectors = new Map<Expr, string>();
  private masks = new Map<Expr, string>();
  /** Which of {@link PARTS} vectors is printed, and the locals that hold the loaded bytes of all; null where there is one vector. */
  private part = 0;
  private loaded: Map<Expr, string> | null = null;
  /** Whether an expression gives a comparison's 0 or 1, so that masks can be combined bit by bit. */
  private readonly isBoolean = perNode<boolean>(
    (x, self) => x.k === 'cmp' || (x.k === 'bin' && (x.op === 'and' || x.op === 'or' || x.op === 'xor') && self(x.a) && self(x.b)),
  );

  constructor(
    private readonly operands: readonly NestOperand[],
    private readonly simd: boolean,
    private readonly uses: Uses,
    private readonly ranges: Ranges,
  ) {}

  /** What {@link ROUNDER} makes the integer of a cast from. */
  private rounded(x: Extract<Expr, { k: 'cast' }>): Expr | null {
    if (x.t !== 'i32' || x.x.t !== 'f32') return null;
    if (x.x.k === 'un' && x.x.op === 'nearest' && this.ranges.rounds(x.x.x)) return x.x.x;
    return this.ranges.whole(x.x) && this.ranges.rounds(x.x) ? x.x : null;
  }

  private line(text: string): void {
    this.lines.push('  '.repeat(this.depth) + text);
  }
  private fresh(type: WasmType): string {
    const name = `$v${this.locals.length}`;
    this.locals.push({ name, type });
    return name;
  }
  /** Runs `body` with `n` scratch locals that nested expressions do not touch. */
  private scratch(type: WasmType, n: number, body: (...names: string[]) => string): string {
    const names = Array.from({ length: n }, () => this.free[type].pop() ?? this.fresh(type));
    const text = body(...names);
    this.free[type].push(...names.reverse());
    return text;
  }
  private local(name: string, type: WasmType): string {
    const key = type === 'v128' ? `${name}:v${this.part}` : name;
    let n = this.names.get(key);
    if (!n) this.names.set(key, (n = this.fresh(type)));
    return n;
  }

  /** Must precede the printing of a statement's expressions; these must be printed in the order of evaluation. */
  private begin(...xs: readonly Expr[]): void {
    this.edges = new Map();
    this.values = new Map();
    this.vectors = new Map();
    this.masks = new Map();
    const visit = (x: Expr): void => {
      const n = this.edges.get(x) ?? 0;
      this.edges.set(x, n + 1);
      if (n === 0) childrenOf(x).forEach(visit);
    };
    xs.forEach(visit);
  }
  /** Text of a node: where it is met first its value is kept, if it is needed again. */
  private shared(x: Expr, type: WasmType, known: Map<Expr, string>, print: () => string): string {
    if (x.k === 'const' || x.k === 'var' || (this.edges.get(x) ?? 0) < 2) return print();
    const local = known.get(x);
    if (local) return local;
    const text = print();
    if (text.startsWith('(local.get ')) {
      known.set(x, text);
      return text;
    }
    const name = this.fresh(type);
    known.set(x, `(local.get ${name})`);
    return `(local.tee ${name} ${text})`;
  }

  // ---- scalars

  scalar(x: Expr): string {
    return this.shared(x, x.t, this.values, () => this.scalarOnce(x));
  }

  private scalarOnce(x: Expr): string {
    switch (x.k) {
      case 'const':
        return constantText(x.t, x.v);
      case 'var':
        return `(local.get ${this.local(x.name, x.t)})`;
      case 'load':
        return `(${LOAD[this.operands[x.buf].dtype]} ${this.address(x.buf, x.at)})`;
      case 'un':
        return this.unary(x.op, x.x);
      case 'bin':
        return this.binary(x.op, x.t, x.a, x.b);
      case 'cmp':
        return `(${x.of}.${compareOp(x.op, isFloat(x.of))} ${this.scalar(x.a)} ${this.scalar(x.b)})`;
      case 'cast': {
        const t = this.rounded(x);
        if (t) return `(i32.sub (i32.reinterpret_f32 (f32.add ${this.scalar(t)} (f32.const ${ROUNDER.float}))) (i32.const ${ROUNDER.bits}))`;
        return x.t === x.x.t ? this.scalar(x.x) : `(${CAST[`${x.x.t} ${x.t}`]} ${this.scalar(x.x)})`;
      }
      case 'sel':
        return `(select ${this.scalar(x.a)} ${this.scalar(x.b)} ${this.scalar(x.c)})`;
      case 'call':
        this.uses.add(`s_${x.fn}`);
        return `(call $s_${x.fn} ${x.args.map((a) => this.scalar(a)).join(' ')})`;
    }
  }

  private unary(op: UnaryOp, x: Expr): string {
    const { t } = x;
    if (op === 'frombits') return `(${t === 'i32' ? 'f32.reinterpret_i32' : 'f64.reinterpret_i64'} ${this.scalar(x)})`;
    if (op === 'bits' && isFloat(t)) {
      // NaN payloads differ between engines; the reference has one NaN.
      const int = t === 'f32' ? 'i32' : 'i64';
      return this.scratch(t, 1, (v) => {
        const value = `(${int}.reinterpret_${t} (local.tee ${v} ${this.scalar(x)}))`;
        return `(select ${value} ${CANONICAL_NAN[t]} (${t}.eq (local.get ${v}) (local.get ${v})))`;
      });
    }
    if (isFloat(t)) return `(${t}.${op} ${this.scalar(x)})`;
    const zero = `(${t}.const 0)`;
    if (op === 'neg') return `(${t}.sub ${zero} ${this.scalar(x)})`;
    return this.scratch(t, 1, (v) => `(select (${t}.sub ${zero} (local.tee ${v} ${this.scalar(x)})) (local.get ${v}) (${t}.lt_s (local.get ${v}) ${zero}))`);
  }

  private binary(op: BinaryOp, t: Scalar, a: Expr, b: Expr): string {
    const simple = isFloat(t) ? FLOAT_BINARY[op] : INT_BINARY[op];
    if (simple) return `(${t}.${simple} ${this.scalar(a)} ${this.scalar(b)})`;
    if (op === 'div' || op === 'rem') {
      if (b.k === 'const' && Number(b.v) > 0) return `(${t}.${op}_s ${this.scalar(a)} ${this.scalar(b)})`;
      this.uses.add(`${op}_${t}`);
      return `(call $${op}_${t} ${this.scalar(a)} ${this.scalar(b)})`;
    }
    // pmin(a,b) = b < a ? b : a, pmax(a,b) = a < b ? b : a; min and max of integers are the same.
    const lt = `${t}.${compareOp('lt', isFloat(t))}`;
    return this.scratch(t, 2, (p, q) => {
      const [u, v] = [`(local.get ${p})`, `(local.get ${q})`];
      const less = op === 'pmin' || op === 'min' ? `(${lt} ${v} ${u})` : `(${lt} ${u} ${v})`;
      if (!isFloat(t)) return `(select (local.tee ${q} ${this.scalar(b)}) (local.tee ${p} ${this.scalar(a)}) ${less})`;
      // V8 makes branches of selections of floats, but not of integers, and codes are as good as random (of 60,000 clamped numbers 120 µs, was 400).
      const int = t === 'f32' ? 'i32' : 'i64';
      const bits = (x: string): string => `(${int}.reinterpret_${t} ${x})`;
      return `(${t}.reinterpret_${int} (select ${bits(`(local.tee ${q} ${this.scalar(b)})`)} ${bits(`(local.tee ${p} ${this.scalar(a)})`)} ${less}))`;
    });
  }

  private address(buf: number, at: Expr): string {
    const shift = Math.log2(DTYPES[this.operands[buf].dtype].bytes);
    if (at.k === 'const' && at.v === 0) return `(local.get $p${buf})`;
    const scaled = (): string => (shift === 0 ? this.scalar(at) : `(i32.shl ${this.scalar(at)} (i32.const ${shift}))`);
    return `(i32.add (local.get $p${buf}) ${at.k === 'const' ? `(i32.const ${Number(at.v) * 2 ** shift})` : scaled()})`;
  }

  private block(body: readonly Stmt[], statement: (s: Stmt) => void): void {
    this.depth++;
    body.forEach(statement);
    this.depth--;
  }

  private statement = (s: Stmt): void => {
    this.begin(...expressionsOf(s));
    switch (s.s) {
      case 'for':
        if (this.simd && this.vectorLoop(s)) return;
        this.scalarLoop(s, this.statement);
        return;
      case 'let':
      case 'set':
        this.line(`(local.set ${this.local(s.name, s.x.t)} ${this.scalar(s.x)})`);
        return;
      case 'store':
        this.line(`(${STORE[this.operands[s.buf].dtype]} ${this.address(s.buf, s.at)} ${this.scalar(s.x)})`);
        return;
      case 'if':
        this.branch(s, this.statement);
    }
  };

  private branch(s: Extract<Stmt, { s: 'if' }>, statement: (s: Stmt) => void): void {
    this.line(`(if ${this.scalar(s.c)}`);
    this.line('(then');
    this.block(s.then, statement);
    if (s.else.length > 0) {
      this.line(') (else');
      this.block(s.else, statement);
    }
    this.line('))');
  }

  private scalarLoop(s: Extract<Stmt, { s: 'for' }>, statement: (s: Stmt) => void): void {
    if (s.n.k === 'const' && Number(s.n.v) <= 0) return;
    const v = this.local(s.v, 'i32');
    this.line(`(local.set ${v} (i32.const 0))`);
    if (s.n.k === 'const') return this.counted(v, 1, constantText('i32', s.n.v), s.body, statement);
    const n = this.fresh('i32');
    this.line(`(local.set ${n} ${this.scalar(s.n)})`);
    this.line(`(if (i32.gt_s (local.get ${n}) (i32.const 0)) (then`);
    this.counted(v, 1, `(local.get ${n})`, s.body, statement);
    this.line('))');
  }

  /** do { body; v += step } while (v < end) */
  private counted(v: string, step: number, end: string, body: readonly Stmt[], statement: (s: Stmt) => void): void {
    const label = `$l${this.labels++}`;
    this.line(`(loop ${label}`);
    this.block(body, statement);
    this.line(`  (br_if ${label} (i32.lt_s (local.tee ${v} (i32.add (local.get ${v}) (i32.const ${step}))) ${end})))`);
  }

  // ---- vectors

  /** Prints a loop four iterations at a time, if that is possible without changing its meaning. */
  private vectorLoop(s: Extract<Stmt, { s: 'for' }>): boolean {
    const kinds = this.lanesOf(s);
    if (!kinds) return false;
    const count = s.n.k === 'const' ? Number(s.n.v) : null;
    const stride = strides(kinds);

    const v = this.local(s.v, 'i32');
    const changing = writesOf(s.body).add(s.v);
    const hoisted = new Map<string, string>();
    const invariant = perNode<boolean>((x, self) => x.k !== 'load' && (x.k !== 'var' || !changing.has(x.name)) && childrenOf(x).every(self));
    const scope: VectorScope = { kinds, stride, invariant, hoisted };
    const vectorStatement = this.vectorStatement(scope);
    let end: string;
    let vectorEnd: string;
    if (count !== null) {
      end = constantText('i32', count);
      vectorEnd = constantText('i32', count - (count % LANES));
    } else {
      const [n, m] = [this.fresh('i32'), this.fresh('i32')];
      this.line(`(local.set ${m} (i32.and (local.tee ${n} ${this.scalar(s.n)}) (i32.const -4)))`);
      [end, vectorEnd] = [`(local.get ${n})`, `(local.get ${m})`];
    }
    this.line(`(local.set ${v} (i32.const 0))`);
    const wideEnd = count !== null && this.isWide(s, kinds) ? count - (count % (PARTS * LANES)) : 0;
    if (count === null) this.line(`(if (i32.gt_s ${vectorEnd} (i32.const 0)) (then`);
    // What the body hoists is known once it is printed.
    const at = this.lines.length;
    if (wideEnd > 0) this.wideLoop(s.body, scope, (body, statement) => this.counted(v, PARTS * LANES, constantText('i32', wideEnd), body, statement));
    if (count === null || count - wideEnd >= LANES) this.counted(v, LANES, vectorEnd, s.body, vectorStatement);
    const body = this.lines.splice(at);
    for (const [text, name] of hoisted) this.line(`(local.set ${name} ${text})`);
    this.lines.push(...body);
    if (count === null) this.line(`)) (if (i32.lt_s (local.get ${v}) ${end}) (then`);
    if (count === null || count % LANES > 0) this.counted(v, 1, end, s.body, this.statement);
    if (count === null) this.line('))');
    return true;
  }

  /** How a loop's locals are kept when it is printed four iterations at a time; null where it cannot be. */
  private lanesOf(s: Extract<Stmt, { s: 'for' }>): Kinds | null {
    if (s.n.k === 'const' && Number(s.n.v) < LANES) return null;
    const kinds = vectorKinds(s);
    if (!kinds) return null;
    if (this.independent(s, kinds, false)) return kinds;
    // Lanes far apart are the last resort.
    for (const t of statementsOf(s.body)) if (t.s === 'for' && this.lanesOf(t)) return null;
    return this.independent(s, kinds, true) ? kinds : null;
  }

  /**
   * Whether lanes do not meet: every store goes to consecutive elements at a place that nothing else in the loop moves, each
   * stored operand is accessed at that one place, and every expression has a vector form. Or, `scattered`, there is one store to
   * elements farther apart than inner loops move it, of an operand that is not read.
   */
  private independent(s: Extract<Stmt, { s: 'for' }>, kinds: Kinds, scattered: boolean): boolean {
    const stride = strides(kinds);
    const inner = new Set<string>();
    const counts = new Map<string, number>();
    const definitions = new Map<string, Expr>();
    for (const t of statementsOf(s.body)) {
      if (t.s === 'for') inner.add(t.v);
      if (t.s === 'for' && t.n.k === 'const') counts.set(t.v, Number(t.n.v));
      if (t.s === 'set') inner.add(t.name);
      if (t.s === 'let') definitions.set(t.name, t.x);
    }
    const fixed = perNode<boolean>((x, self) => {
      if (x.k === 'load') return false;
      if (x.k === 'var' && (inner.has(x.name) || (definitions.has(x.name) && !self(definitions.get(x.name)!)))) return false;
      return childrenOf(x).every(self);
    });
    /** How far inner loops move an index; Infinity where that is not known. */
    const span = perNode<number>((x, self) => {
      if (x.k === 'const' || fixed(x)) return 0;
      if (x.k === 'var' && counts.has(x.name)) return Math.max(0, counts.get(x.name)! - 1);
      if (x.k === 'var') return definitions.has(x.name) && !inner.has(x.name) ? self(definitions.get(x.name)!) : Infinity;
      if (x.k !== 'bin') return Infinity;
      if (x.op === 'add' || x.op === 'sub') return self(x.a) + self(x.b);
      if (x.op === 'mul' && x.b.k === 'const') return self(x.a) * Math.abs(Number(x.b.v));
      return x.op === 'mul' && x.a.k === 'const' ? self(x.b) * Math.abs(Number(x.a.v)) : Infinity;
    });
    const vectorForm = this.vectorForm(stride);

    const places = new Map<number, Expr>();
    for (const t of statementsOf(s.body)) {
      if (t.s === 'for' || t.s === 'if') {
        if (stride(expressionsOf(t)[0]) !== 0) return false;
      } else if (t.s === 'store') {
        if (!STORE4[this.operands[t.buf].dtype]) return false;
        if (scattered ? places.size > 0 || !((stride(t.at) ?? 0) > span(t.at)) : stride(t.at) !== 1 || !fixed(t.at)) return false;
        if ((places.get(t.buf) ?? t.at) !== t.at) return false;
        places.set(t.buf, t.at);
        if (!vectorForm(t.x)) return false;
      } else if (kinds.get(t.name) === 'vector' && !vectorForm(t.x)) return false;
    }
    if (places.size === 0) return false;
    const loadsInPlace = perNode<boolean>(
      (x, self) => (x.k !== 'load' || !places.has(x.buf) || (!scattered && places.get(x.buf) === x.at)) && childrenOf(x).every(self),
    );
    for (const t of statementsOf(s.body)) if (!expressionsOf(t).every(loadsInPlace)) return false;
    return true;
  }

  /** Whether an expression can be printed by {@link vector}. */
  private vectorForm(stride: (x: Expr) => number | null): (x: Expr) => boolean {
    return perNode<boolean>((x, self) => {
      if (x.t !== 'f32' && x.t !== 'i32') return false;
      if (stride(x) !== null) return true;
      switch (x.k) {
        case 'load':
          return LOAD4[this.operands[x.buf].dtype] !== undefined && stride(x.at) === 1;
        case 'bin':
          if (x.t === 'i32' && VECTOR_SHIFT[x.op]) return self(x.a) && stride(x.b) === 0;
          return (x.t === 'f32' || VECTOR_INT_BINARY[x.op] !== undefined) && self(x.a) && self(x.b);
        case 'call':
          return hasVectorFunction(x.fn) && x.args.every(self);
        default:
          return childrenOf(x).every(self);
      }
    });
  }

  private vectorStatement(scope: VectorScope): (s: Stmt) => void {
    const statement = (s: Stmt): void => {
      this.begin(...expressionsOf(s));
      switch (s.s) {
        case 'for':
          return this.scalarLoop(s, statement);
        case 'if':
          return this.branch(s, statement);
        case 'store': {
          const { dtype } = this.operands[s.buf];
          const apart = scope.stride(s.at)!;
          if (apart !== 1) return this.scatter(s, LANE_BYTES[dtype]!, apart, scope);
          return this.line(this.scratch('v128', 1, (v) => STORE4[dtype]!(this.address(s.buf, s.at), this.vector(s.x, scope), v)));
        }
        default:
          if (scope.kinds.get(s.name) === 'vector') this.line(`(local.set ${this.local(s.name, 'v128')} ${this.vector(s.x, scope)})`);
          else this.statement(s);
      }
    };
    return statement;
  }

  /**
   * Whether a loop may run {@link PARTS} vectors at a time, whose results are stored together: it does nothing but load, compute and store bytes that
   * need no wrapping. Loads and stores of four bytes are much of such loops: of ResNet-20 they took 92 µs at W2A2, 64 with sixteen.
   */
  private isWide(s: Extract<Stmt, { s: 'for' }>, kinds: Kinds): boolean {
    const stride = strides(kinds);
    const plain = perNode<boolean>((x, self) => x.k !== 'call' && childrenOf(x).every(self));
    return s.body.every((t) => {
      if (t.s === 'for' || t.s === 'if' || !expressionsOf(t).every(plain)) return false;
      if (t.s !== 'store') return true;
      const { lo, hi } = this.ranges.int(t.x);
      return BYTE[this.operands[t.buf].dtype] === 'u' && lo >= 0 && hi <= 255 && stride(t.at) === 1;
    });
  }

  /** Prints a loop of {@link isWide}, with the stores' bytes in the cheapest form that is known, and without locals that then nothing needs. */
  private wideLoop(body: readonly Stmt[], scope: VectorScope, print: (body: readonly Stmt[], statement: (s: Stmt) => void) => void): void {
    const known = new Map<string, KnownBytes & { readonly local: string }>();
    const stores = new Map<Stmt, WideStore>();
    const forms = body.map((s): Stmt => {
      if (s.s !== 'store') return s;
      const found = tableOf(s.x, (y) => (y.k === 'var' ? (known.get(y.name) ?? null) : null), this.ranges);
      const text = found && printTable(found.table, found.of.lo, found.of.hi, `(local.get ${found.of.local})`, (vector) => this.hoist(vector, scope));
      const form = { ...s, x: text ? e.i32(0) : saturating(s.x, this.ranges) };
      const made = madeOf(s.x, this.ranges);
      const kept = made && this.fresh('v128');
      if (made && kept) known.set(made.name, { ...made, local: kept });
      stores.set(form, { text, kept });
      return form;
    });
    const needed = new Set<string>();
    const read = (x: Expr): void => (x.k === 'var' ? void needed.add(x.name) : childrenOf(x).forEach(read));
    const rest = forms.reduceRight<Stmt[]>((after, s) => {
      if (s.s === 'let' && !needed.has(s.name)) return after;
      expressionsOf(s).forEach(read);
      return [s, ...after];
    }, []);
    print(rest, (s) => this.wideStatement(s, scope, stores.get(s) ?? { text: null, kept: null }));
  }

  /** One statement for all {@link PARTS}. */
  private wideStatement(s: Stmt, scope: VectorScope, { text, kept }: WideStore): void {
    if (s.s !== 'store' && s.s !== 'let' && s.s !== 'set') fail('E901', 'nest: a wide loop in another');
    if (s.s !== 'store' && scope.kinds.get(s.name) !== 'vector') return this.statement(s);
    if (text === null) {
      this.loaded = new Map();
      const values = Array.from({ length: PARTS }, (_, part) => {
        this.part = part;
        this.begin(s.x);
        const name = s.s === 'store' ? this.local('#bytes', 'v128') : this.local(s.name, 'v128');
        this.line(`(local.set ${name} ${this.vector(s.x, scope)})`);
        return `(local.get ${name})`;
      });
      [this.part, this.loaded] = [0, null];
      if (s.s !== 'store') return;
      const [low, high] = [0, 2].map((i) => `(i16x8.narrow_i32x4_s ${values[i]} ${values[i + 1]})`);
      text = `(i8x16.narrow_i16x8_u ${low} ${high})`;
    }
    if (s.s !== 'store') return;
    this.begin(s.at);
    this.line(`(v128.store align=1 ${this.address(s.buf, s.at)} ${kept ? `(local.tee ${kept} ${text})` : text})`);
  }

  /** Four consecutive elements. */
  private load4(x: Extract<Expr, { k: 'load' }>): string {
    const { dtype } = this.operands[x.buf];
    const sign = BYTE[dtype];
    if (!this.loaded || !sign) return LOAD4[dtype]!(this.address(x.buf, x.at), this.part ? `offset=${this.part * LANES * DTYPES[dtype].bytes} ` : '');
    const bytes = this.loaded.get(x);
    if (bytes) return quarter(sign, this.part, bytes);
    const name = this.fresh('v128');
    this.loaded.set(x, `(local.get ${name})`);
    return quarter(sign, this.part, `(local.tee ${name} (v128.load align=1 ${this.address(x.buf, x.at)}))`);
  }

  /** Stores lanes `apart` elements from each other. */
  private scatter(s: Extract<Stmt, { s: 'store' }>, bytes: 1 | 2 | 4, apart: number, scope: VectorScope): void {
    this.scratch('i32', 1, (at) => {
      this.line(`(local.set ${at} ${this.address(s.buf, s.at)})`);
      return this.scratch('v128', 1, (v) => {
        this.line(`(local.set ${v} ${this.vector(s.x, scope)})`);
        for (let lane = 0; lane < LANES; lane++) {
          this.line(`(v128.store${8 * bytes}_lane offset=${lane * apart * bytes} align=${bytes} ${(lane * 4) / bytes} (local.get ${at}) (local.get ${v}))`);
        }
        return '';
      });
    });
  }

  private splat(x: Expr, scope: VectorScope): string {
    if (!scope.invariant(x)) return `(${shape(x.t)}.splat ${this.scalar(x)})`;
    // What is computed in front of the loop cannot use what the loop keeps.
    const values = this.values;
    this.values = new Map();
    const text = `(${shape(x.t)}.splat ${this.scalar(x)})`;
    this.values = values;
    return this.hoist(text, scope);
  }
  private hoist(text: string, scope: VectorScope): string {
    if (!scope.hoisted) return text;
    let name = scope.hoisted.get(text);
    if (!name) scope.hoisted.set(text, (name = this.fresh('v128')));
    return `(local.get ${name})`;
  }

  /** Four lanes of an f32 or i32 expression. */
  vector(x: Expr, scope: VectorScope): string {
    return this.shared(x, 'v128', this.vectors, () => this.vectorOnce(x, scope));
  }

  private vectorOnce(x: Expr, scope: VectorScope): string {
    const stride = scope.stride(x);
    if (stride === 0) return this.splat(x, scope);
    if (stride !== null) {
      const steps = this.hoist(`(v128.const i32x4 ${[0, 1, 2, 3].map((lane) => ((LANES * this.part + lane) * stride) | 0).join(' ')})`, scope);
      return `(i32x4.add (i32x4.splat ${this.scalar(x)}) ${steps})`;
    }
    const v = (y: Expr): string => this.vector(y, scope);
    switch (x.k) {
      case 'var':
        return `(local.get ${this.local(x.name, 'v128')})`;
      case 'load':
        return this.load4(x);
      case 'un':
        if (x.op === 'frombits') return v(x.x);
        if (x.op === 'bits') {
          const nan = this.splat({ k: 'const', t: 'i32', v: 0x7fc00000 }, scope);
          return this.scratch('v128', 1, (t) => `(v128.bitselect (local.tee ${t} ${v(x.x)}) ${nan} (f32x4.eq (local.get ${t}) (local.get ${t})))`);
        }
        return `(${shape(x.t)}.${x.op} ${v(x.x)})`;
      case 'bin':
        if (x.t === 'f32') return `(f32x4.${x.op} ${v(x.a)} ${v(x.b)})`;
        if (VECTOR_SHIFT[x.op]) return `(${VECTOR_SHIFT[x.op]} ${v(x.a)} ${this.scalar(x.b)})`;
        if (this.isBoolean(x)) return `(i32x4.neg ${this.mask(x, scope)})`;
        if (x.op === 'add' && x.a.k === 'cast' && x.b.k === 'const' && (this.edges.get(x.a) ?? 0) < 2) {
          const t = this.rounded(x.a);
          if (t) return this.round(t, Number(x.b.v), scope);
        }
        return `(${VECTOR_INT_BINARY[x.op]} ${v(x.a)} ${v(x.b)})`;
      case 'cmp':
        return `(i32x4.neg ${this.mask(x, scope)})`;
      case 'cast': {
        const t = this.rounded(x);
        if (t) return this.round(t, 0, scope);
        return x.t === x.x.t ? v(x.x) : x.t === 'f32' ? `(f32x4.convert_i32x4_s ${v(x.x)})` : `(i32x4.trunc_sat_f32x4_s ${v(x.x)})`;
      }
      case 'sel':
        return `(v128.bitselect ${v(x.a)} ${v(x.b)} ${this.mask(x.c, scope)})`;
      case 'call':
        this.uses.add(`v_${x.fn}`);
        return `(call $v_${x.fn} ${x.args.map(v).join(' ')})`;
      case 'const':
        return fail('E901', 'nest: a constant is uniform');
    }
  }

  /** {@link ROUNDER} of `t`, plus `zero`. */
  private round(t: Expr, zero: number, scope: VectorScope): string {
    return `(i32x4.sub (f32x4.add ${this.vector(t, scope)} ${this.splat(e.f32(ROUNDER.float), scope)}) ${this.splat(e.i32(ROUNDER.bits - zero), scope)})`;
  }

  /** All ones in the lanes where `x` ≠ 0. */
  private mask(x: Expr, scope: VectorScope): string {
    return this.shared(x, 'v128', this.masks, () => {
      if (scope.stride(x) === null && this.isBoolean(x)) {
        if (x.k === 'cmp') return `(${shape(x.of)}.${compareOp(x.op, x.of === 'f32')} ${this.vector(x.a, scope)} ${this.vector(x.b, scope)})`;
        if (x.k === 'bin') return `(v128.${x.op} ${this.mask(x.a, scope)} ${this.mask(x.b, scope)})`;
      }
      return `(i32x4.ne ${this.vector(x, scope)} ${this.splat({ k: 'const', t: 'i32', v: 0 }, scope)})`;
    });
  }

  // ---- whole functions

  nest(nest: Nest): string {
    const params = nest.operands.map((_, i) => ` (param $p${i} i32)`).join('');
    nest.body.forEach(this.statement);
    return `${params}\n${this.localLines()}${this.lines.join('\n')}`;
  }

  /** A scalar function, over scalars or over four lanes. */
  scalarFunction(name: string, lanes: boolean): string {
    const f = SCALAR_FUNCTIONS[name];
    const type = lanes ? 'v128' : 'f32';
    const kinds = new Map<string, Kind>([...f.params, ...f.lets.map((l) => l.name)].map((n) => [n, 'vector']));
    const params = f.params.map((p) => {
      const text = ` (param $${p} ${type})`;
      this.names.set(lanes ? `${p}:v0` : p, `$${p}`);
      return text;
    });
    const scope: VectorScope = { kinds, stride: strides(kinds), invariant: () => true, hoisted: null };
    const body = (x: Expr): string => {
      this.begin(x);
      return lanes ? this.vector(x, scope) : this.scalar(x);
    };
    for (const l of f.lets) this.line(`(local.set ${this.local(l.name, lanes ? 'v128' : l.x.t)} ${body(l.x)})`);
    this.line(`${body(f.result)})`);
    return `(func $${lanes ? 'v' : 's'}_${name}${params.join('')} (result ${type})\n${this.localLines()}${this.lines.join('\n')}`;
  }

  private localLines(): string {
    // Runs of one type are declared together in the binary.
    const types: readonly WasmType[] = ['i32', 'i64', 'f32', 'f64', 'v128'];
    const sorted = types.flatMap((t) => this.locals.filter((l) => l.type === t));
    return sorted.length === 0 ? '' : `  ${sorted.map((l) => `(local ${l.name} ${l.type})`).join(' ')}\n`;
  }
}

/** How the locals of a loop's body are kept, or null when the body changes a local that outlives an iteration. */
function vectorKinds(s: Extract<Stmt, { s: 'for' }>): Kinds | null {
  const kinds = new Map<string, Kind>([[s.v, 1]]);
  const assigned = new Map<string, Expr[]>();
  for (const t of statementsOf(s.body)) {
    if (t.s === 'let') assigned.set(t.name, [t.x]);
    if (t.s === 'set') {
      if (!assigned.has(t.name)) return null;
      assigned.get(t.name)!.push(t.x);
    }
  }
  // Locals start as uniform; what that contradicts is corrected until nothing changes.
  for (let changed = true; changed; ) {
    changed = false;
    const stride = strides(new Map(kinds));
    for (const [name, xs] of assigned) {
      const s = xs.map(stride);
      const kind: Kind = s.every((d) => d === 0) ? 0 : xs.length === 1 && s[0] !== null ? s[0] : 'vector';
      if (kind === (kinds.get(name) ?? 0) || kinds.get(name) === 'vector') continue;
      kinds.set(name, kinds.has(name) ? 'vector' : kind);
      changed = true;
    }
  }
  return kinds;
}

/** Whether every step of a scalar function has a vector form (shifts by a varying count have none). */
function hasVectorFunction(name: string): boolean {
  const f = SCALAR_FUNCTIONS[name];
  const ok = perNode<boolean>((x, self) => {
    if (x.k === 'call' && !hasVectorFunction(x.fn)) return false;
    if (x.k === 'bin' && x.t === 'i32' && !VECTOR_INT_BINARY[x.op] && !(VECTOR_SHIFT[x.op] && x.b.k === 'const')) return false;
    return (x.t === 'f32' || x.t === 'i32') && childrenOf(x).every(self);
  });
  return f.lets.every((l) => ok(l.x)) && ok(f.result);
}

/**
 * Parameters and body of the function that runs a nest, without `(func $name`: identical nests give identical text. Parameters
 * are the operands' base addresses; functions that the text calls are added to `uses`.
 * @throws E901 when the nest is malformed
 */
export function printNest(nest: Nest, simd: boolean, uses: Uses): string {
  checkNest(nest);
  const prepared = prepareNest(nest);
  return `${new FunctionPrinter(nest.operands, simd, uses, new Ranges(nest.operands, prepared.body)).nest(prepared)})`;
}

/** Definitions of the functions in `uses` and of those that they call. */
export function supportFunctions(uses: Uses): string[] {
  const done = new Map<string, string>();
  for (let todo = [...uses]; todo.length > 0; ) {
    const name = todo.pop()!;
    if (done.has(name)) continue;
    const inner: Uses = new Set();
    const text = GUARDED[name] ?? new FunctionPrinter([], false, inner, new Ranges([], [])).scalarFunction(name.slice(2), name.startsWith('v_'));
    done.set(name, text);
    todo.push(...inner);
  }
  return [...done.keys()].sort().map((name) => done.get(name)!);
}
