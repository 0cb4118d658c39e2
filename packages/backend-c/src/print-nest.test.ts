import {
  type BinaryOp, type BufferDef, type CompareOp, type Expr, type KernelCall, type Nest, type NestOperand, type Program, SCALAR_FUNCTIONS, type Scalar,
  type Stmt, type UnaryOp, e, runNest, scalarOf,
} from '@bitloom/kernel-spec';
import { DTYPES, type DType, Rng, type TypedArray, tensor } from '@bitloom/tensor';
import { describe, expect, it } from 'vitest';
import { NO_C_COMPILER, findCompiler, planC, printNest } from './index.js';
import { buffer, canonicalBits, runOnce } from './test-programs.test.fixtures.js';

const cc = await findCompiler();
if (!cc) console.log(`skipped: ${NO_C_COMPILER}`);
const clang = await findCompiler(['clang']);
if (cc && !clang) console.log('skipped in part: no clang');

const ALL_DTYPES = Object.keys(DTYPES) as DType[];
const SCALARS: readonly Scalar[] = ['i32', 'i64', 'f32', 'f64'];
const pick = <T>(rng: Rng, items: readonly T[]): T => items[rng.int(items.length)];

const SPECIAL = [
  0, -0, 0.5, -0.5, 1.5, 2.5, -2.5, 0.49999997, 1, -1, 3, 255, 256, 1e-45, -1e-40, 2 ** 23 - 0.5, 2 ** 23 + 1, -(2 ** 23) - 3, 2 ** 24 + 2, 2 ** 31, -(2 ** 31), 2 ** 31 - 1,
  2 ** 32 + 5, 2 ** 52 - 0.5, 2 ** 53 + 2, 2 ** 63, -(2 ** 63), 1e19, 3.4e38, -3.4e38, 1e300, Infinity, -Infinity, NaN, Math.PI, -0.1,
];
const INTEGERS = [0n, 1n, -1n, 2n, 7n, 31n, 32n, 33n, 63n, 64n, 255n, -128n, 2n ** 31n - 1n, -(2n ** 31n), 2n ** 32n, 2n ** 53n + 1n, 2n ** 62n + 2n ** 38n + 1n, 2n ** 63n - 1n, -(2n ** 63n)];

function fill(rng: Rng, dtype: DType, n: number): TypedArray {
  const out = new DTYPES[dtype].array(n);
  for (let i = 0; i < n; i++) {
    const integer = rng.int(3) ? pick(rng, INTEGERS) : BigInt(rng.u32()) * 0x1_0000_0001n;
    if (out instanceof BigInt64Array || out instanceof BigUint64Array) out[i] = BigInt.asIntN(64, integer);
    else if (out instanceof Float32Array || out instanceof Float64Array) out[i] = rng.int(3) ? pick(rng, SPECIAL) : rng.normal() * 10 ** (rng.int(20) - 8);
    else out[i] = dtype === 'bool' ? rng.int(2) : Number(BigInt.asIntN(32, integer));
  }
  return out;
}

/** Random statements over operands of every type: all operations, loops, conditions, mutable locals, shared subexpressions. */
class RandomNest {
  private names = 0;
  private scope: { name: string; t: Scalar }[] = [];
  private loopVars = new Set<string>();
  constructor(private readonly rng: Rng, private readonly operands: readonly NestOperand[]) {}

  private constant(t: Scalar): Expr {
    if (t === 'i32') return e.i32(Number(BigInt.asIntN(32, pick(this.rng, INTEGERS))));
    if (t === 'i64') return e.i64(pick(this.rng, INTEGERS));
    return t === 'f32' ? e.f32(pick(this.rng, SPECIAL)) : e.f64(pick(this.rng, SPECIAL));
  }

  /** An index below n, with or without a known range. */
  private index(n: number, depth: number): Expr {
    const vars = this.scope.filter((v) => this.loopVars.has(v.name));
    const variable: Expr | null = vars.length ? { k: 'var', t: 'i32', name: pick(this.rng, vars).name } : null;
    if (variable && this.rng.int(2)) return e.rem(e.add(e.mul(variable, e.i32(1 + this.rng.int(3))), e.i32(this.rng.int(5))), e.i32(n));
    return e.rem(e.max(this.expr('i32', depth - 1), e.i32(0)), e.i32(n));
  }

  expr(t: Scalar, depth: number): Expr {
    const { rng } = this;
    const vars = this.scope.filter((v) => v.t === t);
    if (depth <= 0 || rng.int(8) === 0) {
      if (vars.length && rng.int(2)) return { k: 'var', t, name: pick(rng, vars).name };
      const loads = this.operands.flatMap((o, buf) => (scalarOf(o.dtype) === t ? [buf] : []));
      if (depth > -2 && rng.int(3)) {
        const buf = pick(rng, loads);
        return { k: 'load', t, buf, at: this.index(this.operands[buf].elements, depth) };
      }
      return this.constant(t);
    }
    const int = t === 'i32' || t === 'i64';
    const sub = (s: Scalar = t): Expr => this.expr(s, depth - 1);
    switch (rng.int(int ? 8 : 7)) {
      case 0: {
        const from = pick(rng, SCALARS);
        return from === t ? e.neg(sub()) : { k: 'cast', t, x: sub(from) };
      }
      case 1:
        return { k: 'sel', t, c: sub('i32'), a: sub(), b: sub() };
      case 2: {
        const s = sub();
        return { k: 'bin', t, op: 'add', a: s, b: s };
      }
      case 3:
        if (t === 'f32' && rng.int(2)) {
          const [fn, f] = pick(rng, Object.entries(SCALAR_FUNCTIONS));
          return e.call(fn, ...f.params.map(() => sub()));
        }
        return this.unary(t, depth);
      case 7: {
        const of = pick(rng, SCALARS);
        const c: Expr = { k: 'cmp', t: 'i32', of, op: pick<CompareOp>(rng, ['lt', 'le', 'gt', 'ge', 'eq', 'ne']), a: sub(of), b: sub(of) };
        return t === 'i32' ? c : { k: 'cast', t, x: c };
      }
      default: {
        const common: BinaryOp[] = ['add', 'sub', 'mul', 'div', 'min', 'max', 'pmin', 'pmax'];
        const op = pick(rng, int ? [...common, 'rem', 'and', 'or', 'xor', 'shl', 'shr', 'ushr'] as BinaryOp[] : common);
        return { k: 'bin', t, op, a: sub(), b: sub() };
      }
    }
  }

  private unary(t: Scalar, depth: number): Expr {
    const float: UnaryOp[] = ['neg', 'abs', 'sqrt', 'floor', 'ceil', 'trunc', 'nearest', 'frombits'];
    const op = pick(this.rng, t === 'i32' || t === 'i64' ? (['neg', 'abs', 'bits'] as UnaryOp[]) : float);
    const from = { i32: 'f32', i64: 'f64', f32: 'i32', f64: 'i64' } as const;
    return { k: 'un', t, op, x: this.expr(op === 'bits' || op === 'frombits' ? from[t] : t, depth - 1) };
  }

  block(depth: number, loops: number): Stmt[] {
    const { rng } = this;
    const outer = [...this.scope];
    const out: Stmt[] = [];
    for (let i = 0, n = 2 + rng.int(3); i < n; i++) {
      const kind = rng.int(6);
      if (kind === 0 && loops > 0) {
        const v = `i${this.names++}`;
        const n = rng.int(3) ? e.i32(1 + rng.int(6)) : e.and(this.expr('i32', 2), e.i32(7));
        this.scope.push({ name: v, t: 'i32' });
        this.loopVars.add(v);
        out.push({ s: 'for', v, n, body: this.block(depth, loops - 1) });
        this.scope = this.scope.filter((s) => s.name !== v);
      } else if (kind === 1) {
        const name = `t${this.names++}`;
        const x = this.expr(pick(rng, SCALARS), depth);
        out.push({ s: 'let', name, x });
        this.scope.push({ name, t: x.t });
      } else if (kind === 2 && this.scope.some((s) => !this.loopVars.has(s.name))) {
        const v = pick(rng, this.scope.filter((s) => !this.loopVars.has(s.name)));
        out.push({ s: 'set', name: v.name, x: this.expr(v.t, depth) });
      } else if (kind === 3 && loops > 0) {
        out.push({ s: 'if', c: this.expr('i32', depth), then: this.block(depth, loops - 1), else: rng.int(2) ? this.block(depth, loops - 1) : [] });
      } else {
        const buf = this.operands.length / 2 + rng.int(this.operands.length / 2);
        out.push({ s: 'store', buf, at: this.index(this.operands[buf].elements, 1), x: this.expr(scalarOf(this.operands[buf].dtype), depth) });
      }
    }
    this.scope = outer;
    return out;
  }
}

/** Nests as one program; operands' first half are inputs shared by all, the second half results of their own. */
function nestProgram(nests: readonly Nest[], ins: readonly TypedArray[]): { program: Program; sample: Map<string, ReturnType<typeof tensor>> } {
  const buffers: BufferDef[] = [];
  const add = (b: BufferDef): number => buffers.push(b) - 1;
  const sample = new Map(ins.map((x, i) => [`x${i}`, tensor(nests[0].operands[i].dtype, [x.length], x)]));
  const inputs = ins.map((x, i) => ({ name: `x${i}`, buffer: add(buffer(`x${i}`, nests[0].operands[i].dtype, [x.length])) }));
  const outputs: { name: string; buffer: number }[] = [];
  const calls = nests.map((nest, n): KernelCall => {
    const results = nest.operands.slice(ins.length).map((o, i) => {
      const id = add(buffer(`y${n}_${i}`, o.dtype, [o.elements]));
      outputs.push({ name: `y${n}_${i}`, buffer: id });
      return id;
    });
    return { family: 'nest', params: nest, args: inputs.map((p) => p.buffer), results, origin: `nest ${n}` };
  });
  return { program: { name: 'nests', buffers, calls, inputs, outputs }, sample };
}

/** A nest that clears its results first, so that runs do not depend on what the arena held. */
const cleared = (operands: readonly NestOperand[], body: readonly Stmt[]): Nest => ({
  operands,
  body: [
    ...operands.flatMap((o, buf): Stmt[] => (buf < operands.length / 2 ? [] : [{
      s: 'for', v: `z${buf}`, n: e.i32(o.elements), body: [{ s: 'store', buf, at: { k: 'var', t: 'i32', name: `z${buf}` }, x: e.constant(scalarOf(o.dtype), 0) }],
    }])),
    ...body,
  ],
});

/** A sum of two bytes, quantised from a zero point and then requantised to at most `hi`, as of residual connections. */
function requantisedTwice(n: number, zero: number, hi: number): Nest {
  const i: Expr = { k: 'var', t: 'i32', name: 'i' };
  const variable = (name: string): Expr => ({ k: 'var', t: 'f32', name });
  const decoded = (buf: number, z: number, scale: number): Expr => e.mul(e.f32(scale), e.cast('f32', e.sub({ k: 'load', t: 'i32', buf, at: i }, e.i32(z))));
  const steps = (x: Expr, factor: number, z: number, most: number): Expr => e.nearest(e.pmin(e.f32(most - z), e.pmax(e.f32(-z), e.mul(x, e.f32(factor)))));
  const body: Stmt[] = [
    { s: 'let', name: 's', x: e.add(decoded(0, zero, 0.0419), decoded(1, 0, 0.0195)) }, { s: 'let', name: 't', x: steps(variable('s'), 27.75, zero, 255) },
    { s: 'store', buf: 2, at: i, x: e.add(e.cast('i32', variable('t')), e.i32(zero)) }, { s: 'let', name: 'u', x: e.mul(e.f32(0.036), variable('t')) },
    { s: 'store', buf: 3, at: i, x: e.cast('i32', steps(variable('u'), hi / 5, 0, hi)) },
  ];
  const operands: NestOperand[] = [0, 1, 2, 3].map(() => ({ dtype: 'u8', elements: n }));
  return { operands, body: [{ s: 'for', v: 'i', n: e.i32(n), body }] };
}

const SETTINGS: readonly { compiler: string | null; flags: readonly string[] }[] = [
  { compiler: cc, flags: ['-std=c99', '-O0'] },
  { compiler: cc, flags: ['-std=c99', '-O1', '-fsanitize=address,undefined', '-fno-sanitize-recover=all'] },
  { compiler: cc, flags: ['-std=gnu99', '-O3', ...(process.arch === 'x64' ? ['-march=native'] : [])] },
  { compiler: clang, flags: ['-std=gnu99', '-O2', ...(process.arch === 'x64' ? ['-march=native'] : [])] },
];

async function compare(nests: readonly Nest[], ins: readonly TypedArray[], compiler: string, flags: readonly string[]): Promise<void> {
  const { program, sample } = nestProgram(nests, ins);
  const run = await runOnce(planC(program, { isas: ['portable'] }), sample, compiler, flags);
  nests.forEach((nest, n) => {
    const results = nest.operands.slice(ins.length).map((o) => new DTYPES[o.dtype].array(o.elements));
    runNest(nest, [...ins, ...results]);
    results.forEach((want, i) => {
      const got = run.outputs.get(`y${n}_${i}`)!.data;
      const [g, w] = [canonicalBits(got), canonicalBits(want)];
      const at = w.findIndex((b, j) => g[j] !== b);
      if (at < 0) return;
      const j = Math.floor(at / want.BYTES_PER_ELEMENT);
      throw new Error(`nest ${n}, result ${i} (${nest.operands[ins.length + i].dtype}), element ${j}: ${got[j]} instead of ${want[j]}\n${printNest(nest, 'nest').code}`);
    });
  });
}

describe.skipIf(!cc)('nests in C', () => {
  const operands: NestOperand[] = [0, 1].flatMap(() => ALL_DTYPES.map((dtype) => ({ dtype, elements: 40 })));
  for (const { compiler, flags } of SETTINGS) {
    it.skipIf(!compiler)(`give the bits of runNest: ${compiler} ${flags.join(' ')}`, async () => {
      const rng = new Rng(5);
      const ins = ALL_DTYPES.map((d) => fill(rng, d, 40));
      const nests = Array.from({ length: 12 }, () => cleared(operands, new RandomNest(rng, operands).block(5, 3)));
      await compare(nests, ins, compiler!, flags);
    });

    it.skipIf(!compiler)(`clamped and rounded numbers have the bits of runNest: ${compiler} ${flags.join(' ')}`, async () => {
      const rng = new Rng(7);
      const n = 4000;
      const halves = Float32Array.from({ length: n }, (_, i) => (i < SPECIAL.length ? SPECIAL[i] : rng.int(2) ? (rng.int(2000) - 1000) / 2 : rng.normal() * 10 ** rng.int(12)));
      const ins: TypedArray[] = [halves, Uint8Array.from({ length: n }, () => rng.int(256)), Int8Array.from({ length: n }, () => rng.int(256))];
      const i: Expr = { k: 'var', t: 'i32', name: 'i' };
      const load = (buf: number): Expr => ({ k: 'load', t: buf === 0 ? 'f32' : 'i32', buf, at: i });
      const float = (x: Expr): Expr => ({ k: 'cast', t: 'f32', x });
      const sum = e.add(e.mul(e.f32(0.0419), float(e.add(load(1), e.i32(-134)))), e.mul(e.f32(0.5), float(load(2))));
      const limits = [[0, 255], [0, 1], [0, 2.5], [-131, 124], [-0, 7], [-2, -1], [-(2 ** 22), 2 ** 22], [0, 2 ** 22 + 2], [-(2 ** 31), 2147483520], [0, 2 ** 31], [-Infinity, 255], [3, Infinity]];
      const nests = limits.flatMap(([lo, hi]) => [load(0), sum, e.mul(e.pmax(sum, e.f32(0)), e.f32(27.75))].map((x): Nest => {
        const clamped = e.pmin(e.f32(hi), e.pmax(e.f32(lo), x));
        const rounded = e.nearest(clamped);
        const t: Expr = { k: 'var', t: 'f32', name: 't' };
        const stores = [clamped, t, { k: 'cast', t: 'i32', x: t } as const, { k: 'cast', t: 'i32', x: clamped } as const];
        return {
          operands: [...['f32', 'u8', 'i8'] as const, ...stores.map((v) => v.t)].map((dtype) => ({ dtype: dtype as DType, elements: n })),
          body: [{ s: 'for', v: 'i', n: e.i32(n), body: [{ s: 'let', name: 't', x: rounded }, ...stores.map((v, j): Stmt => ({ s: 'store', buf: 3 + j, at: i, x: v }))] }],
        };
      }));
      const code = nests.map((nest) => printNest(nest, 'nest').code).join('');
      for (const form of ['bl_near_f32', 'bl_nearest_f32', 'bl_clamp_f32', '(int32_t)t', 'bl_i32_f32']) expect(code).toContain(form);
      await compare(nests, ins, compiler!, flags);
    });

    it.skipIf(!compiler)(`bytes made of other bytes are those of runNest for every pair: ${compiler} ${flags.join(' ')}`, async () => {
      const n = 256 * 256;
      const pairs = [Uint8Array.from({ length: n }, (_, p) => p & 255), Uint8Array.from({ length: n }, (_, p) => p >> 8)];
      const nests = [1, 3, 6, 15, 63].flatMap((hi) => [0, 131].map((zero) => requantisedTwice(n, zero, hi)));
      await compare(nests, pairs, compiler!, flags);
    });

    it.skipIf(!compiler)(`scalar functions give the bits of runNest: ${compiler} ${flags.join(' ')}`, async () => {
      const rng = new Rng(6);
      const n = 20000;
      const values = (): Float32Array => {
        const bits = new Float32Array(Uint32Array.from({ length: n }, () => rng.u32()).buffer);
        return Float32Array.from(bits, (b, i) => (i < SPECIAL.length ? SPECIAL[i] : i % 2 ? b : rng.normal() * 10));
      };
      const ins = [values(), values()];
      const i: Expr = { k: 'var', t: 'i32', name: 'i' };
      const operand = { dtype: 'f32', elements: n } as const;
      const nests = Object.entries(SCALAR_FUNCTIONS).map(([fn, f]): Nest => ({
        operands: [operand, operand, operand],
        body: [{ s: 'for', v: 'i', n: e.i32(n), body: [{ s: 'store', buf: 2, at: i, x: e.call(fn, ...f.params.map((_, p): Expr => ({ k: 'load', t: 'f32', buf: p, at: i }))) }] }],
      }));
      await compare(nests, ins, compiler!, flags);
    });
  }
});

describe('printNest', () => {
  it('counts or multiplies bytes in a loop of their own, but not for many rises, nor where others touch them', () => {
    const split = (nest: Nest): boolean => printNest(nest, 'f').code.includes('i_');
    const plain = requantisedTwice(40, 131, 3);
    expect(printNest(plain, 'f').code).toMatch(/ {2}for \(int32_t i_ = 0; i_ < 40; i_\+\+\) \{\n {4}const uint8_t s0 = p2\[i_\];\n {4}p3\[i_\] = \(uint8_t\)\(\(+s0 >= \d+\)/);
    expect(printNest(requantisedTwice(40, 0, 15), 'f').code).toMatch(/p3\[i_\] = .*p2\[i_\].* >> \d+\);/);
    expect(split(requantisedTwice(40, 131, 63))).toBe(false);
    const i: Expr = { k: 'var', t: 'i32', name: 'i' };
    const halved = e.cast('i32', e.nearest(e.mul(e.cast('f32', { k: 'load', t: 'i32', buf: 0, at: i }), e.f32(1 / 80))));
    const alone: Nest = { operands: [{ dtype: 'u8', elements: 40 }, { dtype: 'u8', elements: 40 }], body: [{ s: 'for', v: 'i', n: e.i32(40), body: [{ s: 'store', buf: 1, at: i, x: halved }] }] };
    expect(printNest(alone, 'f').code).toMatch(/\{\n {2}for \(int32_t i = 0; i < 40; i\+\+\) \{\n {4}const uint8_t s0 = p0\[i\];\n {4}p1\[i\] = \(uint8_t\)\(\(+s0 >= 41\)/);
    const [loop] = plain.body as [Extract<Stmt, { s: 'for' }>];
    const changed = (change: (s: Stmt, at: number) => Stmt[]): Nest => ({ operands: [...plain.operands, plain.operands[3]], body: [{ ...loop, body: loop.body.flatMap(change) }] });
    const isStore = (s: Stmt, buf: number): boolean => s.s === 'store' && s.buf === buf;
    const first: Expr = { k: 'load', t: 'i32', buf: 2, at: e.i32(0) };
    expect(split(changed((s) => [s]))).toBe(true);
    expect(split(changed((s) => (isStore(s, 2) ? [{ ...s, at: e.i32(7) } as Stmt] : [s])))).toBe(false);
    expect(split(changed((s) => (isStore(s, 2) ? [s, { s: 'store', buf: 2, at: e.i32(0), x: e.i32(1) }] : [s])))).toBe(false);
    expect(split(changed((s) => (isStore(s, 3) ? [{ s: 'store', buf: 4, at: e.i32(0), x: first }, s] : [s])))).toBe(false);
  });

  it('prints index arithmetic plainly, and wrapping arithmetic through unsigned', () => {
    const i: Expr = { k: 'var', t: 'i32', name: 'i0' };
    const load: Expr = { k: 'load', t: 'i32', buf: 0, at: e.add(e.mul(i, e.i32(3)), e.i32(1)) };
    const { code, stored } = printNest({
      operands: [{ dtype: 'i32', elements: 31 }, { dtype: 'u8', elements: 10 }],
      body: [{ s: 'for', v: 'i0', n: e.i32(10), body: [{ s: 'store', buf: 1, at: i, x: e.add(e.mul(load, e.i32(5)), e.i32(-7)) }] }],
    }, 'f');
    expect(stored).toEqual([false, true]);
    expect(code).toBe(`static BL_NOINLINE void f(const int32_t *restrict p0, uint8_t *restrict p1)
{
  for (int32_t i0 = 0; i0 < 10; i0++) {
    p1[i0] = (uint8_t)(int32_t)(((uint32_t)p0[(i0 * 3) + 1] * (uint32_t)5) + (uint32_t)(-7));
  }
}`);
  });

  it('stays linear in shared subexpressions', () => {
    let x: Expr = { k: 'load', t: 'f32', buf: 0, at: e.i32(0) };
    for (let i = 0; i < 18; i++) x = e.mul(x, x);
    const { code } = printNest({ operands: [{ dtype: 'f32', elements: 1 }, { dtype: 'f32', elements: 1 }], body: [{ s: 'store', buf: 1, at: e.i32(0), x }] }, 'f');
    expect(code.length).toBeLessThan(2000);
  });
});
