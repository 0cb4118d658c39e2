/**
 * Programs as JSON without their constant data. Expressions are prefix lists whose types follow from operands, variables and
 * constants; equal nests are stored once.
 *
 *   expression  12 (i32) · ["f32", 0.5] · ["f64", 0.5] · ["i64", "12"] · "name" · ["load", operand, at]
 *               · [op, x] · [op, a, b] · ["cast", type, x] · ["sel", c, a, b] · ["call", name, …args]
 *   statement   ["for", v, n, body] · ["let", name, x] · ["set", name, x] · ["store", operand, at, x] · ["if", c, then, else]
 *
 * Floats that JSON lacks are "NaN", "Infinity", "-Infinity" and "-0".
 */
import { fail } from '@bitloom/diagnostics';
import { type Bits, isBits } from '@bitloom/numerics';
import { DTYPES, type DType, MAX_ELEMENTS, type TypedArray, elementCount, rowMajorStrides, sameShape } from '@bitloom/tensor';
import { MAX_NEST_DEPTH, MAX_NEST_NODES } from './check-nest.js';
import { checkProgram } from './check-program.js';
import type { ConvParams } from './conv.js';
import type { BinaryOp, CompareOp, Expr, Nest, NestOperand, Scalar, Stmt, UnaryOp } from './nest.js';
import { scalarOf } from './nest.js';
import type { BufferDef, KernelCall, Port, Program } from './program.js';

const VERSION = 1;
/** Bound on the storage of everything but constants: what 32-bit memories can address. */
const MAX_BYTES = 2 ** 32;

const UNARY: readonly string[] = ['neg', 'abs', 'sqrt', 'floor', 'ceil', 'trunc', 'nearest', 'bits', 'frombits'] satisfies UnaryOp[];
const BINARY: readonly string[] = [
  'add', 'sub', 'mul', 'div', 'rem', 'min', 'max', 'pmin', 'pmax', 'and', 'or', 'xor', 'shl', 'shr', 'ushr',
] satisfies BinaryOp[];
const COMPARE: readonly string[] = ['lt', 'le', 'gt', 'ge', 'eq', 'ne'] satisfies CompareOp[];
const GEOMETRY = [
  'batch', 'inH', 'inW', 'inC', 'outH', 'outW', 'outC', 'kH', 'kW', 'strideH', 'strideW', 'padT', 'padL', 'dilH', 'dilW', 'groups', 'xZero',
] as const;

const float = (v: number): unknown => (Number.isFinite(v) && !Object.is(v, -0) ? v : Object.is(v, -0) ? '-0' : String(v));

function exprJson(x: Expr): unknown {
  switch (x.k) {
    case 'const':
      return x.t === 'i32' ? x.v : x.t === 'i64' ? ['i64', String(x.v)] : [x.t, float(Number(x.v))];
    case 'var':
      return x.name;
    case 'load':
      return ['load', x.buf, exprJson(x.at)];
    case 'un':
      return [x.op, exprJson(x.x)];
    case 'bin':
    case 'cmp':
      return [x.op, exprJson(x.a), exprJson(x.b)];
    case 'cast':
      return ['cast', x.t, exprJson(x.x)];
    case 'sel':
      return ['sel', exprJson(x.c), exprJson(x.a), exprJson(x.b)];
    case 'call':
      return ['call', x.fn, ...x.args.map(exprJson)];
  }
}

function stmtJson(s: Stmt): unknown {
  switch (s.s) {
    case 'for':
      return ['for', s.v, exprJson(s.n), s.body.map(stmtJson)];
    case 'let':
    case 'set':
      return [s.s, s.name, exprJson(s.x)];
    case 'store':
      return ['store', s.buf, exprJson(s.at), exprJson(s.x)];
    case 'if':
      return ['if', exprJson(s.c), s.then.map(stmtJson), s.else.map(stmtJson)];
  }
}

const convJson = (p: ConvParams): unknown => ({
  kind: p.kind, ...Object.fromEntries(GEOMETRY.map((k) => [k, p[k]])),
  weightBits: p.weightBits, activationBits: p.activationBits, output: p.output, lo: float(p.lo), hi: float(p.hi),
});

/** The program without constant data, ready for JSON.stringify; the same program always gives the same value. */
export function programToJson(p: Program): unknown {
  const nests: unknown[] = [];
  const index = new Map<string, number>();
  const nest = (n: Nest): number => {
    const json = [n.operands.map((o) => [o.dtype, o.elements]), n.body.map(stmtJson)];
    const key = JSON.stringify(json);
    let i = index.get(key);
    if (i === undefined) {
      i = nests.push(json) - 1;
      index.set(key, i);
    }
    return i;
  };
  const ports = (list: readonly Port[]): unknown => list.map((q) => [q.name, q.buffer]);
  return {
    version: VERSION,
    name: p.name,
    buffers: p.buffers.map((b) => ({
      name: b.name,
      dtype: b.dtype,
      shape: b.shape,
      ...(sameShape(b.strides, rowMajorStrides(b.shape)) ? {} : { strides: b.strides }),
      ...(b.quant ? { bits: b.quant.scheme.bits, scale: b.quant.scale[0], zeroPoint: b.quant.zeroPoint[0] } : {}),
      ...(b.data ? { constant: true } : {}),
    })),
    calls: p.calls.map(({ args, results, origin, family, params }) => ({
      args,
      results,
      origin,
      ...(family === 'nest' ? { nest: nest(params) } : { conv: convJson(params) }),
    })),
    nests,
    inputs: ports(p.inputs),
    outputs: ports(p.outputs),
  };
}

const bad = (message: string, found?: unknown): never =>
  fail('E701', `program: ${message}`, found === undefined ? {} : { found: String(JSON.stringify(found)).slice(0, 80) });

const record = (x: unknown, what: string): Readonly<Record<string, unknown>> =>
  typeof x === 'object' && x !== null && !Array.isArray(x) ? (x as Record<string, unknown>) : bad(`${what} is not an object`, x);
const list = (x: unknown, what: string): readonly unknown[] => (Array.isArray(x) ? x : bad(`${what} is not a list`, x));
const text = (x: unknown, what: string): string => (typeof x === 'string' ? x : bad(`${what} is not text`, x));
const integer = (x: unknown, what: string): number =>
  Number.isSafeInteger(x) && !Object.is(x, -0) ? (x as number) : bad(`${what} is not an integer`, x);
const integers = (x: unknown, what: string): number[] => list(x, what).map((v) => integer(v, what));
const dtypeOf = (x: unknown): DType => (typeof x === 'string' && Object.hasOwn(DTYPES, x) ? (x as DType) : bad('unknown data type', x));

function number(x: unknown, what: string): number {
  if (typeof x === 'number') return x;
  return x === 'NaN' ? NaN : x === 'Infinity' ? Infinity : x === '-Infinity' ? -Infinity : x === '-0' ? -0 : bad(`${what} is not a number`, x);
}

/** Reads nests; types of variables come from the declarations in scope. */
class NestReader {
  private nodes = 0;
  constructor(private readonly operands: readonly NestOperand[]) {}

  private enter(depth: number): void {
    if (depth > MAX_NEST_DEPTH || ++this.nodes > MAX_NEST_NODES) bad('a nest is too deep or too large');
  }
  private loadType(buf: number): Scalar {
    return scalarOf((this.operands[buf] ?? bad('unknown operand', buf)).dtype);
  }

  expr(json: unknown, scope: ReadonlyMap<string, Scalar>, depth: number): Expr {
    this.enter(depth);
    if (typeof json === 'number') return { k: 'const', t: 'i32', v: integer(json, 'an i32 constant') };
    if (typeof json === 'string') return { k: 'var', t: scope.get(json) ?? bad('undefined variable', json), name: json };
    const items = list(json, 'an expression');
    const op = text(items[0], 'an operation');
    const sub = (i: number): Expr => this.expr(items[i], scope, depth + 1);
    const size = (n: number): true => items.length === n || bad(`wrong number of operands of ${op}`, items.length - 1);
    if (op === 'f32' || op === 'f64') return size(2) && { k: 'const', t: op, v: number(items[1], 'a constant') };
    if (op === 'i64') {
      const digits = text(items[1], 'an i64 constant');
      return size(2) && /^-?\d{1,19}$/.test(digits) ? { k: 'const', t: 'i64', v: BigInt(digits) } : bad('not an i64 constant', digits);
    }
    if (op === 'load') {
      const buf = integer(items[1], 'an operand');
      return size(3) && { k: 'load', t: this.loadType(buf), buf, at: sub(2) };
    }
    if (op === 'cast') {
      const t = items[1];
      return size(3) && (t === 'i32' || t === 'i64' || t === 'f32' || t === 'f64') ? { k: 'cast', t, x: sub(2) } : bad('unknown scalar type', t);
    }
    if (op === 'call') {
      const args = items.slice(2).map((_, i) => sub(i + 2));
      return { k: 'call', t: 'f32', fn: text(items[1], 'a function'), args };
    }
    if (op === 'sel') {
      size(4);
      const [c, a, b] = [sub(1), sub(2), sub(3)];
      return { k: 'sel', t: a.t, c, a, b };
    }
    if (UNARY.includes(op)) {
      size(2);
      const x = sub(1);
      const wide = x.t === 'i64' || x.t === 'f64';
      return { k: 'un', t: op === 'bits' ? (wide ? 'i64' : 'i32') : op === 'frombits' ? (wide ? 'f64' : 'f32') : x.t, op: op as UnaryOp, x };
    }
    if (!BINARY.includes(op) && !COMPARE.includes(op)) bad('unknown operation', op);
    size(3);
    const [a, b] = [sub(1), sub(2)];
    return BINARY.includes(op) ? { k: 'bin', t: a.t, op: op as BinaryOp, a, b } : { k: 'cmp', t: 'i32', of: a.t, op: op as CompareOp, a, b };
  }

  /** A block; its declarations leave `scope` at its end. Names declared twice are for {@link checkNest} to refuse. */
  block(json: unknown, scope: Map<string, Scalar>, depth: number): Stmt[] {
    const declared: string[] = [];
    const declare = (name: string, t: Scalar): void => {
      scope.set(name, t);
      declared.push(name);
    };
    const body = list(json, 'a block').map((item): Stmt => {
      this.enter(depth);
      const items = list(item, 'a statement');
      const expr = (i: number): Expr => this.expr(items[i], scope, depth + 1);
      const size = (n: number): true => items.length === n || bad('malformed statement', items[0]);
      switch (items[0]) {
        case 'for': {
          const v = text(items[1], 'a variable');
          const n = expr(2);
          declare(v, 'i32');
          return size(4) && { s: 'for', v, n, body: this.block(items[3], scope, depth + 1) };
        }
        case 'let':
        case 'set': {
          size(3);
          const name = text(items[1], 'a variable');
          const x = expr(2);
          if (items[0] === 'let') declare(name, x.t);
          return { s: items[0], name, x };
        }
        case 'store':
          return size(4) && { s: 'store', buf: integer(items[1], 'an operand'), at: expr(2), x: expr(3) };
        case 'if':
          return size(4) && { s: 'if', c: expr(1), then: this.block(items[2], scope, depth + 1), else: this.block(items[3], scope, depth + 1) };
        default:
          return bad('unknown kind of statement', items[0]);
      }
    });
    for (const name of declared) scope.delete(name);
    return body;
  }
}

function nestFromJson(json: unknown): Nest {
  const [operands, body] = list(json, 'a nest');
  const read = list(operands, 'the operands').map((o): NestOperand => {
    const [dtype, elements] = list(o, 'an operand');
    return { dtype: dtypeOf(dtype), elements: integer(elements, 'a number of elements') };
  });
  return { operands: read, body: new NestReader(read).block(body, new Map(), 0) };
}

function convFromJson(json: unknown): ConvParams {
  const c = record(json, 'a convolution');
  const bits = (x: unknown): Bits | null => (x === null || (typeof x === 'number' && isBits(x)) ? x : bad('bit-width out of range', x));
  return {
    ...(Object.fromEntries(GEOMETRY.map((k) => [k, integer(c[k], k)])) as Record<(typeof GEOMETRY)[number], number>),
    kind: text(c.kind, 'kind') as ConvParams['kind'],
    weightBits: bits(c.weightBits),
    activationBits: bits(c.activationBits),
    output: text(c.output, 'output') as ConvParams['output'],
    lo: number(c.lo, 'lo'),
    hi: number(c.hi, 'hi'),
  };
}

/**
 * Reads what {@link programToJson} wrote, trusting nothing: the result has passed {@link checkProgram}.
 * @param constants data of a constant buffer, by its index, in physical order
 * @throws E701 where the JSON is not a well-formed program
 */
export function programFromJson(json: unknown, constants: (buffer: number) => TypedArray): Program {
  const p = record(json, 'the program');
  if (p.version !== VERSION) bad('unknown version', p.version);
  let bytes = 0;
  const buffers = list(p.buffers, 'buffers').map((x, i): BufferDef => {
    const b = record(x, 'a buffer');
    const dtype = dtypeOf(b.dtype);
    const shape = integers(b.shape, 'shape');
    // A shape that cannot be is a fault of the bundle here.
    const least = shape.reduce((n, d) => n * Math.max(d, 1), 1);
    if (shape.some((d) => d < 0) || least > MAX_ELEMENTS) bad('a shape is out of range', shape);
    const elements = elementCount(shape);
    const constant = b.constant === true;
    if (!constant) bytes += elements * DTYPES[dtype].bytes;
    if (bytes > MAX_BYTES) bad('too large', `more than ${MAX_BYTES} bytes`);
    const quant = b.bits === undefined ? null : {
      scheme: { bits: isBits(integer(b.bits, 'bits')) ? (b.bits as Bits) : bad('bit-width out of range', b.bits), signed: false, axis: null },
      scale: Float32Array.of(number(b.scale, 'scale')),
      zeroPoint: Int32Array.of(integer(b.zeroPoint, 'zeroPoint')),
    };
    return {
      name: text(b.name, 'a name'), dtype, shape, elements, quant,
      strides: b.strides === undefined ? rowMajorStrides(shape) : integers(b.strides, 'strides'),
      data: constant ? constants(i) : null,
    };
  });
  const nests = list(p.nests, 'nests').map(nestFromJson);
  const calls = list(p.calls, 'calls').map((x): KernelCall => {
    const c = record(x, 'a call');
    const common = { args: integers(c.args, 'args'), results: integers(c.results, 'results'), origin: text(c.origin, 'origin') };
    if (c.conv !== undefined) return { ...common, family: 'conv', params: convFromJson(c.conv) };
    return { ...common, family: 'nest', params: nests[integer(c.nest, 'nest')] ?? bad('unknown nest', c.nest) };
  });
  const ports = (x: unknown, what: string): Port[] => list(x, what).map((q) => {
    const [name, buffer] = list(q, what);
    return { name: text(name, what), buffer: integer(buffer, what) };
  });
  const program = { name: text(p.name, 'name'), buffers, calls, inputs: ports(p.inputs, 'inputs'), outputs: ports(p.outputs, 'outputs') };
  checkProgram(program, 'E701');
  return program;
}
