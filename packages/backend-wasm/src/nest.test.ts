import { describe, expect, it } from 'vitest';
import { makePlan } from '@bitloom/codegen';
import {
  type BinaryOp, type BufferDef, type CompareOp, type Expr, type KernelCall, type Nest, type NestOperand, type Program, SCALAR_FUNCTIONS, type Scalar,
  type Stmt, e, runNest, scalarOf,
} from '@bitloom/kernel-spec';
import { DTYPES, type DType, Rng, type TypedArray, bytesOf, rowMajorStrides, tensor } from '@bitloom/tensor';
import { emitWasm, printNest, runWasm, variantsFor } from './index.js';

const DTYPE_NAMES = Object.keys(DTYPES) as DType[];
const SCALARS: readonly Scalar[] = ['i32', 'i64', 'f32', 'f64'];
const TARGETS = ['wasm', 'wasm-scalar'] as const;
const pick = <T>(rng: Rng, items: readonly T[]): T => items[rng.int(items.length)];
const variable = (name: string, t: Scalar = 'i32'): Expr => ({ k: 'var', t, name });
const loadOf = (operands: readonly NestOperand[], buf: number, at: Expr): Expr => ({ k: 'load', t: scalarOf(operands[buf].dtype), buf, at });

const SPECIAL = [
  0, -0, 0.5, -0.5, 1.5, 2.5, -2.5, 1, -1, 3, 255, 256, 1e-45, -1e-40, 2 ** 23 - 0.5, 2 ** 24 + 2, 2 ** 31, -(2 ** 31), 2 ** 53 + 2, 2 ** 63, -(2 ** 63),
  3.4e38, 1e300, Infinity, -Infinity, NaN, -0.1,
];
const INTEGERS = [0n, 1n, -1n, 2n, 7n, 31n, 33n, 64n, 255n, -128n, 2n ** 31n - 1n, -(2n ** 31n), 2n ** 53n + 1n, 2n ** 63n - 1n, -(2n ** 63n)];

function fill(rng: Rng, dtype: DType, n: number): TypedArray {
  const out = new DTYPES[dtype].array(n);
  for (let i = 0; i < n; i++) {
    const integer = rng.int(3) ? BigInt(rng.u32()) * 0x1_0000_0001n : pick(rng, INTEGERS);
    if (out instanceof BigInt64Array || out instanceof BigUint64Array) out[i] = BigInt.asIntN(64, integer);
    else if (out instanceof Float32Array || out instanceof Float64Array) {
      out[i] = rng.int(4) ? rng.normal() * 10 ** (rng.int(12) - 4) : pick(rng, SPECIAL);
    } else out[i] = dtype === 'bool' ? rng.int(2) : Number(BigInt.asIntN(32, integer));
  }
  return out;
}

const ELEMENTS = 64;
/** Operand i is read, operand i + DTYPE_NAMES.length read and written. */
const OPERANDS: readonly NestOperand[] = [0, 1].flatMap(() => DTYPE_NAMES.map((dtype) => ({ dtype, elements: ELEMENTS })));

/**
 * Random nests around what the vectoriser must tell apart: contiguous and other accesses, uniform and varying conditions, locals
 * of an iteration and of the loop, stores that meet loads. `types` limits what is computed, so that some loops have a vector form.
 */
class RandomNest {
  private names = 0;
  private scope: { readonly name: string; readonly t: Scalar; readonly loop: boolean }[] = [];
  constructor(
    private readonly rng: Rng,
    private readonly types: readonly Scalar[],
  ) {}

  private buffers(t: Scalar | null): number[] {
    return OPERANDS.flatMap((o, i) => ((t ? scalarOf(o.dtype) === t : this.types.includes(scalarOf(o.dtype))) ? [i] : []));
  }

  private index(depth: number): Expr {
    const { rng } = this;
    const loops = this.scope.filter((v) => v.loop);
    if (loops.length === 0 || rng.int(8) === 0) return e.i32(rng.int(ELEMENTS));
    const last = variable(loops.at(-1)!.name);
    if (rng.int(12) === 0) return e.rem(e.max(this.expr('i32', depth - 1), e.i32(0)), e.i32(ELEMENTS));
    // Extents are at most 12.
    if (loops.length > 1 && rng.int(2)) {
      return e.rem(e.add(e.mul(variable(pick(rng, loops).name), e.i32(12)), variable(pick(rng, loops).name)), e.i32(ELEMENTS));
    }
    const lane = rng.int(4) ? variable(pick(rng, loops).name) : last;
    return rng.int(3) ? lane : e.add(lane, e.i32(rng.int(4)));
  }

  expr(t: Scalar, depth: number): Expr {
    const { rng } = this;
    const vars = this.scope.filter((v) => v.t === t);
    if (depth <= 0 || rng.int(7) === 0) {
      if (vars.length > 0 && rng.int(2)) return variable(pick(rng, vars).name, t);
      if (depth > -2 && rng.int(4)) return loadOf(OPERANDS, pick(rng, this.buffers(t)), this.index(depth));
      return e.constant(t, t === 'i32' ? Number(BigInt.asIntN(32, pick(rng, INTEGERS))) : t === 'i64' ? pick(rng, INTEGERS) : pick(rng, SPECIAL));
    }
    const integer = t === 'i32' || t === 'i64';
    const sub = (s: Scalar = t): Expr => this.expr(s, depth - 1);
    switch (rng.int(8)) {
      case 0:
        return { k: 'cast', t, x: sub(pick(rng, this.types)) };
      case 1:
        return e.select(sub('i32'), sub(), sub());
      case 2: {
        const of = pick(rng, this.types);
        const c: Expr = { k: 'cmp', t: 'i32', of, op: pick<CompareOp>(rng, ['lt', 'le', 'gt', 'ge', 'eq', 'ne']), a: sub(of), b: sub(of) };
        return t === 'i32' ? c : e.select(rng.int(2) ? c : e.and(c, e.lt(sub(of), sub(of))), sub(), sub());
      }
      case 3:
        if (t === 'f32') {
          const [fn, f] = pick(rng, Object.entries(SCALAR_FUNCTIONS));
          return e.call(fn, ...f.params.map(() => sub()));
        }
        return t === 'i32' ? e.bits(sub('f32')) : sub();
      case 4:
        if (integer) return rng.int(2) ? e.neg(sub()) : e.abs(sub());
        return { k: 'un', t, op: pick(rng, ['neg', 'abs', 'sqrt', 'floor', 'ceil', 'trunc', 'nearest'] as const), x: sub() };
      case 5: {
        const s = sub();
        return { k: 'bin', t, op: pick<BinaryOp>(rng, ['add', 'mul', 'pmax']), a: s, b: s };
      }
      default: {
        const common: BinaryOp[] = ['add', 'sub', 'mul', 'min', 'max', 'pmin', 'pmax'];
        const bitwise: BinaryOp[] = ['and', 'or', 'xor', 'shl', 'shr', 'ushr'];
        // Loops with integer division have no vector form.
        const division: BinaryOp[] = !integer ? ['div'] : rng.int(3) ? [] : ['div', 'rem'];
        const op = pick(rng, [...common, ...(integer ? bitwise : []), ...division]);
        const shift = op === 'shl' || op === 'shr' || op === 'ushr';
        return { k: 'bin', t, op, a: sub(), b: shift && rng.int(3) ? e.constant(t, rng.int(40)) : sub() };
      }
    }
  }

  block(depth: number, loops: number): Stmt[] {
    const { rng } = this;
    const outer = [...this.scope];
    const out: Stmt[] = [];
    for (let i = 0, n = 1 + rng.int(3); i < n; i++) {
      const kind = rng.int(8);
      const locals = this.scope.filter((v) => !v.loop);
      if (kind < 2 && loops > 0) {
        const v = `i${this.names++}`;
        const extent = rng.int(4) ? e.i32(rng.int(13)) : e.and(this.expr('i32', 1), e.i32(7));
        this.scope.push({ name: v, t: 'i32', loop: true });
        out.push({ s: 'for', v, n: extent, body: this.block(depth, loops - 1) });
        this.scope = this.scope.filter((s) => s.name !== v);
      } else if (kind === 2) {
        const name = `t${this.names++}`;
        const x = this.expr(pick(rng, this.types), depth);
        out.push({ s: 'let', name, x });
        this.scope.push({ name, t: x.t, loop: false });
      } else if (kind === 3 && locals.length > 0) {
        const v = pick(rng, locals);
        out.push({ s: 'set', name: v.name, x: this.expr(v.t, depth) });
      } else if (kind === 4 && loops > 0) {
        out.push({ s: 'if', c: this.expr('i32', 1), then: this.block(depth, loops - 1), else: rng.int(2) ? this.block(depth, loops - 1) : [] });
      } else {
        const buf = pick(rng, this.buffers(null).filter((b) => b >= DTYPE_NAMES.length));
        out.push({ s: 'store', buf, at: this.index(1), x: this.expr(scalarOf(OPERANDS[buf].dtype), depth) });
      }
    }
    this.scope = outer;
    return out;
  }

  /** One loop over up to 40 elements with stores to consecutive ones. */
  line(depth: number): Stmt[] {
    const v = `i${this.names++}`;
    this.scope.push({ name: v, t: 'i32', loop: true });
    const at = this.rng.int(2) ? variable(v) : e.add(variable(v), e.i32(this.rng.int(20)));
    const body: Stmt[] = Array.from({ length: 1 + this.rng.int(2) }, () => {
      const buf = pick(this.rng, this.buffers(null).filter((b) => b >= DTYPE_NAMES.length));
      return { s: 'store', buf, at, x: this.lineExpr(scalarOf(OPERANDS[buf].dtype), depth, variable(v)) };
    });
    this.scope = [];
    return [{ s: 'for', v, n: e.i32(1 + this.rng.int(40)), body }];
  }
  /** One loop over up to 40 elements that computes and stores numbers that fit bytes, and reads what it stored. */
  bytes(depth: number): Stmt[] {
    const { rng } = this;
    const v = `i${this.names++}`;
    this.scope.push({ name: v, t: 'i32', loop: true });
    const at = rng.int(2) ? variable(v) : e.add(variable(v), e.i32(rng.int(20)));
    const body = Array.from({ length: 1 + rng.int(3) }, (): Stmt[] => {
      const name = `t${this.names++}`;
      const x = this.lineExpr(pick(rng, this.types), depth, variable(v));
      this.scope.push({ name, t: x.t, loop: false });
      const t = variable(name, x.t);
      const buf = pick(rng, OPERANDS.flatMap((o, i) => (i >= DTYPE_NAMES.length && ['u8', 'bool', 'i8'].includes(o.dtype) ? [i] : [])));
      const byte = t.t === 'f32' ? e.cast('i32', e.nearest(e.pmin(e.f32(255 - rng.int(3)), e.pmax(e.f32(rng.int(3)), t)))) : rng.int(2) ? e.and(e.max(t, e.i32(0)), e.i32(255)) : e.min(e.max(t, e.i32(0)), e.i32(200));
      return [{ s: 'let', name, x }, { s: 'store', buf, at, x: rng.int(6) ? byte : e.add(byte, loadOf(OPERANDS, buf, at)) }];
    }).flat();
    this.scope = [];
    return [{ s: 'for', v, n: e.i32(1 + rng.int(40)), body }];
  }
  private lineExpr(t: Scalar, depth: number, lane: Expr): Expr {
    const x = this.expr(t, depth);
    const load = loadOf(OPERANDS, pick(this.rng, this.buffers(t)), this.rng.int(2) ? lane : e.add(lane, e.i32(this.rng.int(20))));
    return { k: 'bin', t, op: 'add', a: x, b: load };
  }
}

/** Results start from zero, as runNest gets them. */
function cleared(operands: readonly NestOperand[], inputs: number, body: readonly Stmt[]): Nest {
  const clear = operands.map((o, buf): Stmt => {
    const v = `z${buf}`;
    return { s: 'for', v, n: e.i32(o.elements), body: [{ s: 'store', buf, at: variable(v), x: e.constant(scalarOf(o.dtype), 0) }] };
  });
  return { operands, body: [...clear.slice(inputs), ...body] };
}

function nestProgram(nests: readonly Nest[], inputs: readonly TypedArray[]): Program {
  const buffers: BufferDef[] = [];
  const add = (name: string, o: NestOperand): number =>
    buffers.push({ ...o, name, shape: [o.elements], strides: rowMajorStrides([o.elements]), quant: null, data: null }) - 1;
  const ins = inputs.map((_, i) => ({ name: `x${i}`, buffer: add(`x${i}`, nests[0].operands[i]) }));
  const outs: { name: string; buffer: number }[] = [];
  const calls = nests.map((nest, n): KernelCall => {
    const results = nest.operands.slice(inputs.length).map((o, i) => add(`y${n}_${i}`, o));
    results.forEach((buffer, i) => outs.push({ name: `y${n}_${i}`, buffer }));
    return { family: 'nest', params: nest, args: ins.map((p) => p.buffer), results, origin: `nest ${n}` };
  });
  return { name: 'nests', buffers, calls, inputs: ins, outputs: outs };
}

/** Bits with a single NaN: payloads are not specified. */
function canonical(x: TypedArray): Uint8Array {
  const y = x.slice();
  if (y instanceof Float32Array || y instanceof Float64Array) y.forEach((v, i) => Number.isNaN(v) && (y[i] = NaN));
  return new Uint8Array(y.buffer);
}

/** Compiles all nests into one module and compares every result with runNest, bit for bit. */
async function compare(nests: readonly Nest[], inputs: readonly TypedArray[], target: string): Promise<string> {
  const program = nestProgram(nests, inputs);
  const plan = makePlan(program, { target, variants: variantsFor(target) });
  const emitted = await emitWasm(plan);
  const got = await runWasm(emitted, plan, new Map(inputs.map((x, i) => [`x${i}`, tensor(nests[0].operands[i].dtype, [x.length], x)])));
  nests.forEach((nest, n) => {
    const results = nest.operands.slice(inputs.length).map((o) => new DTYPES[o.dtype].array(o.elements));
    runNest(nest, [...inputs, ...results]);
    results.forEach((want, i) => {
      const [g, w] = [canonical(got.get(`y${n}_${i}`)!.data), canonical(want)];
      const at = w.findIndex((b, j) => b !== g[j]);
      if (at < 0) return;
      const j = Math.floor(at / want.BYTES_PER_ELEMENT);
      const where = `nest ${n}, result ${i} (${nest.operands[inputs.length + i].dtype}), element ${j}`;
      expect.fail(`${where}: ${got.get(`y${n}_${i}`)!.data[j]}, not ${want[j]}\n${printNest(nest, target === 'wasm', new Set())}`);
    });
  });
  return emitted.wat;
}

const isVector = (body: readonly Stmt[], operands: readonly NestOperand[] = OPERANDS): boolean =>
  printNest({ operands, body }, true, new Set()).includes('v128');

describe.each(TARGETS)('nests on %s', (target) => {
  it.each([['all types', SCALARS, 1], ['32-bit types', ['i32', 'f32'], 2]] as const)('equal runNest on random nests of %s', async (_, types, seed) => {
    const rng = new Rng(seed);
    const inputs = DTYPE_NAMES.map((d) => fill(rng, d, ELEMENTS));
    const nests = Array.from({ length: 150 }, () => cleared(OPERANDS, DTYPE_NAMES.length, new RandomNest(rng, types).block(4, 3)));
    await compare(nests, inputs, target);
  });

  it('equal runNest on random lines, most of which have a vector form', async () => {
    const rng = new Rng(3);
    const inputs = DTYPE_NAMES.map((d) => fill(rng, d, ELEMENTS));
    const bodies = Array.from({ length: 200 }, () => new RandomNest(rng, ['i32', 'f32']).line(4));
    await compare(bodies.map((b) => cleared(OPERANDS, DTYPE_NAMES.length, b)), inputs, target);
    expect(bodies.filter((b) => isVector(b)).length).toBeGreaterThan(60);
  });

  it('equal runNest on random lines of bytes, of which many are stored 16 at a time', async () => {
    const rng = new Rng(7);
    const inputs = DTYPE_NAMES.map((d) => fill(rng, d, ELEMENTS));
    const bodies = Array.from({ length: 300 }, () => new RandomNest(rng, ['i32', 'f32']).bytes(2));
    await compare(bodies.map((b) => cleared(OPERANDS, DTYPE_NAMES.length, b)), inputs, target);
    expect(bodies.filter((body) => printNest({ operands: OPERANDS, body }, true, new Set()).includes('narrow_i16x8_u')).length).toBeGreaterThan(25);
  });

  it('equal runNest on every scalar function', async () => {
    const rng = new Rng(4);
    const n = 4001;
    const values = (): Float32Array => {
      const bits = new Float32Array(Uint32Array.from({ length: n }, () => rng.u32()).buffer);
      return bits.map((b, i) => (i < SPECIAL.length * SPECIAL.length ? pick(rng, SPECIAL) : i % 2 ? b : rng.normal() * 10));
    };
    const inputs = [values(), values()];
    const operand: NestOperand = { dtype: 'f32', elements: n };
    const i = variable('i');
    const nests = Object.entries(SCALAR_FUNCTIONS).map(([fn, f]): Nest => {
      const x = e.call(fn, ...f.params.map((_, p): Expr => ({ k: 'load', t: 'f32', buf: p, at: i })));
      return { operands: [operand, operand, operand], body: [{ s: 'for', v: 'i', n: e.i32(n), body: [{ s: 'store', buf: 2, at: i, x }] }] };
    });
    const wat = await compare(nests, inputs, target);
    for (const fn of Object.keys(SCALAR_FUNCTIONS)) {
      expect(wat).toContain(`(func $s_${fn} `);
      if (target === 'wasm') expect(wat, fn).toContain(`(func $v_${fn} `);
    }
    if (target === 'wasm-scalar') expect(wat).not.toContain('v128');
  });
});

describe.each(TARGETS)('rounding to integers on %s', (target) => {
  const i = variable('i');
  const x: Expr = { k: 'load', t: 'f32', buf: 0, at: i };
  const clamped = (lo: number, hi: number): Expr => e.pmin(e.f32(hi), e.pmax(e.f32(lo), x));
  const cases: readonly { readonly name: string; readonly truncates: boolean; readonly t: Expr }[] = [
    { name: 'codes', truncates: false, t: clamped(-131, 124) },
    { name: 'the largest bounds', truncates: false, t: clamped(-(2 ** 22), 2 ** 22) },
    { name: 'larger bounds', truncates: true, t: clamped(-(2 ** 23), 2 ** 23) },
    { name: 'one bound', truncates: true, t: e.pmax(e.f32(0), x) },
    { name: 'bounds that let NaN through', truncates: true, t: e.pmin(e.pmax(x, e.f32(-9)), e.f32(9)) },
  ];
  it.each(cases)('$name', async ({ truncates, t }) => {
    const rng = new Rng(6);
    const some = Array.from({ length: 200 }, () => rng.int(2001) / 4 - 250);
    const values = Float32Array.from([...SPECIAL, ...SPECIAL.map((v) => v * 0.25), 2 ** 22, 2 ** 22 - 0.5, 1.5 - 2 ** 22, ...some]);
    const operands: NestOperand[] = [{ dtype: 'f32', elements: values.length }, { dtype: 'i32', elements: values.length }];
    const body: Stmt[] = [{ s: 'for', v: 'i', n: e.i32(values.length), body: [{ s: 'store', buf: 1, at: i, x: e.cast('i32', e.nearest(t)) }] }];
    expect((await compare([{ operands, body }], [values], target)).includes('trunc_sat')).toBe(truncates);
  });

  it('of a number that is rounded already', async () => {
    const values = Float32Array.from([...SPECIAL, ...Array.from({ length: 100 }, (_, n) => n / 4 - 10)]);
    const operands: NestOperand[] = ['f32', 'i32', 'f32'].map((dtype) => ({ dtype: dtype as DType, elements: values.length }));
    const t = variable('t', 'f32');
    const stores: Stmt[] = [{ s: 'store', buf: 1, at: i, x: e.cast('i32', t) }, { s: 'store', buf: 2, at: i, x: t }];
    const body: Stmt[] = [{ s: 'for', v: 'i', n: e.i32(values.length), body: [{ s: 'let', name: 't', x: e.nearest(clamped(-3, 7)) }, ...stores] }];
    expect(await compare([{ operands, body }], [values], target)).not.toContain('trunc_sat');
  });
});

describe.each(TARGETS)('bytes made of other bytes on %s', (target) => {
  const i = variable('i');
  const byte = (buf: number): Expr => ({ k: 'load', t: 'i32', buf, at: i });
  /** As quantised results and their requantised copies: clamp(rne(x · factor)), in steps from `zero`. */
  const steps = (x: Expr, factor: number, hi: number, zero: number): Expr => e.nearest(e.pmin(e.f32(hi - zero), e.pmax(e.f32(-zero), e.mul(x, e.f32(factor)))));
  const code = (t: Expr, zero: number): Expr => e.add(e.cast('i32', t), e.i32(zero));
  const operands = (n: number, results: number): NestOperand[] => Array.from({ length: 2 + results }, () => ({ dtype: 'u8', elements: n }));
  const nest = (n: number, zero: number, relu: boolean, second: { factor: number; hi: number; zero: number }): Nest => {
    const [t, u] = ['t', 'u'].map((name) => variable(name, 'f32'));
    const decoded = (buf: number, z: number, scale: number): Expr => e.mul(e.f32(scale), e.cast('f32', e.sub(byte(buf), e.i32(z))));
    const sum = e.add(decoded(0, zero, 0.0419), decoded(1, 0, 0.0195));
    const body: Stmt[] = [
      { s: 'let', name: 's', x: sum }, { s: 'let', name: 't', x: steps(relu ? e.pmax(variable('s', 'f32'), e.f32(0)) : variable('s', 'f32'), 27.75, 255, zero) },
      { s: 'store', buf: 2, at: i, x: code(t, zero) }, { s: 'let', name: 'u', x: e.mul(e.f32(0.036), t) },
      { s: 'store', buf: 3, at: i, x: code(steps(u, second.factor, second.hi, second.zero), second.zero) },
    ];
    return { operands: operands(n, 2), body: [{ s: 'for', v: 'i', n: e.i32(n), body }] };
  };

  it('equal runNest for every pair of them', async () => {
    const rng = new Rng(9);
    const n = 256 * 256;
    const inputs = [Uint8Array.from({ length: n }, (_, p) => p & 255), Uint8Array.from({ length: n }, (_, p) => p >> 8)];
    const nests = [1, 3, 7, 15, 63, 255].flatMap((hi) => [0, 131].flatMap((zero) => [0, 2].map((second) => {
      const factor = (hi / 9) * (0.3 + rng.uniform());
      return nest(n, zero, second > 0, { factor, hi, zero: second && hi > 4 ? second : 0 });
    })));
    await compare(nests, inputs, target);
    if (target === 'wasm-scalar') return;
    // Up to sixteen codes are counted or products; of more, most are what they were.
    const texts = nests.map((x) => printNest(x, true, new Set()));
    expect(texts.slice(0, 16).filter((t) => t.includes('f32x4.pmin'))).toEqual([]);
    expect(texts.slice(0, 16).filter((t) => t.includes('i8x16.ge_u')).length).toBeGreaterThan(5);
    expect(texts.slice(0, 16).filter((t) => t.includes('i16x8.mul')).length).toBeGreaterThan(3);
  });
});

describe('vectorisation', () => {
  const f = (elements: number): NestOperand => ({ dtype: 'f32', elements });
  const i = variable('i');
  const loop = (n: number, body: Stmt[], v = 'i'): Stmt => ({ s: 'for', v, n: e.i32(n), body });
  const store = (buf: number, at: Expr, x: Expr): Stmt => ({ s: 'store', buf, at, x });
  const load = (buf: number, at: Expr): Expr => ({ k: 'load', t: 'f32', buf, at });
  const sum = variable('s', 'f32');
  /** Element i of row k. */
  const row = load(0, e.add(e.mul(variable('k'), e.i32(9)), i));
  const cases: readonly { readonly name: string; readonly vector: boolean; readonly operands: readonly NestOperand[]; readonly body: Stmt[] }[] = [
    { name: 'contiguous elements', vector: true, operands: [f(9), f(9)], body: [loop(9, [store(1, i, e.mul(load(0, i), e.f32(3)))])] },
    { name: 'fewer than four elements', vector: false, operands: [f(3), f(3)], body: [loop(3, [store(1, i, load(0, i))])] },
    { name: 'strided stores', vector: true, operands: [f(9), f(18)], body: [loop(9, [store(1, e.mul(i, e.i32(2)), load(0, i))])] },
    { name: 'strided stores backwards', vector: false, operands: [f(9), f(18)], body: [loop(9, [store(1, e.sub(e.i32(16), e.mul(i, e.i32(2))), load(0, i))])] },
    { name: 'strided stores to what is read', vector: false, operands: [f(9), f(18)], body: [loop(9, [store(1, e.mul(i, e.i32(2)), load(1, i))])] },
    { name: 'interleaved rows', vector: true, operands: [f(27), f(27)], body: [loop(9, [loop(3, [store(1, e.add(e.mul(i, e.i32(3)), variable('k')), row)], 'k')])] },
    { name: 'interleaved rows that overlap', vector: false, operands: [f(27), f(27)], body: [
      loop(9, [loop(3, [store(1, e.add(e.mul(i, e.i32(2)), variable('k')), row)], 'k')]),
    ] },
    { name: 'strided loads', vector: false, operands: [f(18), f(9)], body: [loop(9, [store(1, i, load(0, e.mul(i, e.i32(2))))])] },
    { name: 'a sum into a local', vector: false, operands: [f(9), f(9)], body: [
      { s: 'let', name: 's', x: e.f32(0) },
      loop(9, [{ s: 'set', name: 's', x: e.add(sum, load(0, i)) }, store(1, i, sum)]),
    ] },
    { name: 'a sum over an outer loop', vector: true, operands: [f(27), f(9)], body: [
      loop(3, [loop(9, [store(1, i, e.add(load(1, i), row))])], 'k'),
    ] },
    { name: 'a sum over an inner loop into a local of the iteration', vector: true, operands: [f(27), f(9)], body: [
      loop(9, [{ s: 'let', name: 's', x: e.f32(0) }, loop(3, [{ s: 'set', name: 's', x: e.add(sum, row) }], 'k'), store(1, i, sum)]),
    ] },
    { name: 'a prefix sum', vector: false, operands: [f(9), f(10)], body: [
      loop(9, [store(1, e.add(i, e.i32(1)), e.add(load(1, i), load(0, i)))]),
    ] },
    { name: 'overlapping stores of an inner loop', vector: false, operands: [f(9), f(12)], body: [
      loop(9, [loop(3, [store(1, e.add(i, variable('k')), load(0, i))], 'k')]),
    ] },
    { name: 'two places of one operand', vector: false, operands: [f(9), f(18)], body: [
      loop(9, [store(1, i, load(0, i)), store(1, e.add(i, e.i32(4)), load(0, i))]),
    ] },
    { name: 'a varying condition', vector: false, operands: [f(9), f(9)], body: [
      loop(9, [{ s: 'if', c: e.lt(load(0, i), e.f32(0)), then: [store(1, i, load(0, i))], else: [] }]),
    ] },
  ];
  it.each(cases)('$name: $vector', async ({ vector, operands, body }) => {
    expect(isVector(body, operands)).toBe(vector);
    const rng = new Rng(5);
    await compare([cleared(operands, 1, body)], [fill(rng, 'f32', operands[0].elements)], 'wasm');
  });

  it('prints a plain loop plainly', () => {
    const body = [loop(8, [store(1, i, e.select(e.lt(load(0, i), e.f32(0)), e.f32(0), load(0, i)))])];
    expect(printNest({ operands: [f(8), f(8)], body }, true, new Set())).toMatchInlineSnapshot(`
      " (param $p0 i32) (param $p1 i32)
        (local $v0 i32) (local $v1 v128) (local $v2 v128) (local $v3 v128)
        (local.set $v0 (i32.const 0))
        (local.set $v2 (f32x4.splat (f32.const 0)))
        (loop $l0
          (v128.store align=4 (i32.add (local.get $p1) (i32.shl (local.get $v0) (i32.const 2))) (v128.bitselect (local.get $v2) (local.tee $v3 (v128.load align=4 (i32.add (local.get $p0) (i32.shl (local.get $v0) (i32.const 2))))) (f32x4.lt (local.get $v3) (local.get $v2))))
          (br_if $l0 (i32.lt_s (local.tee $v0 (i32.add (local.get $v0) (i32.const 4))) (i32.const 8)))))"
    `);
  });

  it('stays linear in shared subexpressions', () => {
    let x = load(0, i);
    for (let k = 0; k < 17; k++) x = e.mul(x, x);
    expect(printNest({ operands: [f(9), f(9)], body: [loop(9, [store(1, i, x)])] }, true, new Set()).length).toBeLessThan(5000);
  });
});

describe('modules', () => {
  it('share the function of identical nests, and report steps', async () => {
    const operand: NestOperand = { dtype: 'u8', elements: 5 };
    const i = variable('i');
    const nest = (add: number): Nest => {
      const x = e.add({ k: 'load', t: 'i32', buf: 0, at: i }, e.i32(add));
      return { operands: [operand, operand], body: [{ s: 'for', v: 'i', n: e.i32(5), body: [{ s: 'store', buf: 1, at: i, x }] }] };
    };
    const program = nestProgram([nest(1), nest(2), nest(1)], [Uint8Array.of(1, 2, 3, 4, 255)]);
    const plan = makePlan(program, { target: 'wasm', variants: variantsFor('wasm') });
    const emitted = await emitWasm(plan);
    expect(emitted.wat.match(/\(func \$nest\d/g)).toHaveLength(2);
    expect((await emitWasm(plan)).wasm).toEqual(emitted.wasm);
    const steps: number[][] = [];
    const input = tensor('u8', [5], Uint8Array.of(1, 2, 3, 4, 255));
    const out = await runWasm(emitted, plan, new Map([['x0', input]]), (call, results) => steps.push([call, ...results[0]]));
    expect(steps).toEqual([[0, 2, 3, 4, 5, 0], [1, 3, 4, 5, 6, 1], [2, 2, 3, 4, 5, 0]]);
    expect([...bytesOf(out.get('y1_0')!)]).toEqual([3, 4, 5, 6, 1]);
  });

  it('refuse missing and misshapen inputs', async () => {
    const operand: NestOperand = { dtype: 'u8', elements: 5 };
    const program = nestProgram([{ operands: [operand, operand], body: [] }], [new Uint8Array(5)]);
    const plan = makePlan(program, { target: 'wasm', variants: variantsFor('wasm') });
    const emitted = await emitWasm(plan);
    await expect(runWasm(emitted, plan, new Map())).rejects.toMatchObject({ code: 'E302' });
    await expect(runWasm(emitted, plan, new Map([['x0', tensor('u8', [4], new Uint8Array(4))]]))).rejects.toMatchObject({ code: 'E302' });
  });

  it('names the line that wabt rejects', async () => {
    const { assemble } = await import('./emit.js');
    await expect(assemble('(module\n(func (i32.frob)))')).rejects.toMatchObject({ code: 'E603', diagnostic: { found: 'line 2: (func (i32.frob)))' } });
  });
});
