import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { BitloomError } from '@bitloom/diagnostics';
import { type Tensor, type TypedArray, tensorOf } from '@bitloom/tensor';
import type { BufferDef, ConvParams, Nest, Program, View } from './index.js';
import { NestBuilder, checkProgram, e, programFromJson, programToJson, runProgram } from './index.js';
import { OPERANDS, nests } from './nests.test.util.js';

const buffer = (name: string, dtype: BufferDef['dtype'], shape: readonly number[], more: Partial<BufferDef> = {}): BufferDef => {
  const strides = shape.map((_, i) => shape.slice(i + 1).reduce((a, b) => a * b, 1));
  return { name, dtype, shape, strides, elements: shape.reduce((a, b) => a * b, 1), quant: null, data: null, ...more };
};

const scheme = { bits: 8, signed: false, axis: null } as const;
const quant = { scheme, scale: Float32Array.of(0.1), zeroPoint: Int32Array.of(10) };

/** x f32 [2, 3] → codes → fully connected on integers → Relu-like max with −0 → y f32 [2, 2]. */
function example(): Program {
  const conv: ConvParams = {
    kind: 'int', batch: 1, inH: 1, inW: 2, inC: 3, outH: 1, outW: 2, outC: 2,
    kH: 1, kW: 1, strideH: 1, strideW: 1, padT: 0, padL: 0, dilH: 1, dilW: 1, groups: 1,
    weightBits: 4, activationBits: 8, xZero: 10, output: 'f32', lo: -Infinity, hi: Infinity,
  };
  const flat = (operand: number, n: number, q: View['quant'] = null): View =>
    ({ operand, dtype: q ? 'u8' : 'f32', shape: [n], strides: [1], quant: q });
  const encode = new NestBuilder([{ dtype: 'f32', elements: 6 }, { dtype: 'u8', elements: 6 }]);
  encode.elementwise(flat(1, 6, quant), [flat(0, 6)], ([x]) => x);
  const relu = (): NestBuilder => {
    const b = new NestBuilder([{ dtype: 'f32', elements: 4 }, { dtype: 'f32', elements: 4 }]);
    b.elementwise(flat(1, 4), [flat(0, 4)], ([x]) => e.pmax(x, e.f32(-0)));
    return b;
  };
  return {
    name: 'example',
    buffers: [
      buffer('x', 'f32', [2, 3]),
      buffer('x.codes', 'u8', [2, 3], { quant }),
      buffer('w', 'i8', [2, 3], { data: Int8Array.of(1, 2, 3, -4, 5, -6) }),
      buffer('m', 'f32', [2], { data: Float32Array.of(0.1, 0.2) }),
      buffer('b', 'f32', [2], { data: Float32Array.of(0, 1) }),
      buffer('acc', 'f32', [2, 2]),
      buffer('relu', 'f32', [2, 2], { strides: [1, 2] }),
      buffer('y', 'f32', [2, 2]),
    ],
    calls: [
      { family: 'nest', params: encode.build(), args: [0], results: [1], origin: 'quantize' },
      { family: 'conv', params: conv, args: [1, 2, 3, 4], results: [5], origin: 'fc' },
      { family: 'nest', params: relu().build(), args: [5], results: [6], origin: 'relu' },
      { family: 'nest', params: relu().build(), args: [6], results: [7], origin: 'relu again' },
    ],
    inputs: [{ name: 'in', buffer: 0 }],
    outputs: [{ name: 'out', buffer: 7 }],
  };
}

const input = (t: Tensor): Map<string, Tensor> => new Map([['in', t]]);
const X = tensorOf('f32', [2, 3], [1, 2, 3, -0.5, 0.5, 0.04]);
const constantsOf = (p: Program) => (i: number): TypedArray => p.buffers[i].data!;

function codeOf(f: () => unknown): string {
  try {
    f();
  } catch (error) {
    if (error instanceof BitloomError) return error.code;
    throw error;
  }
  return 'none';
}

describe('runProgram', () => {
  it('runs nests and convolutions over buffers', () => {
    const p = example();
    const seen: [number, string, number[]][] = [];
    const out = runProgram(p, input(X), (i, call, results) => seen.push([i, call.origin, Array.from(results[0] as Float32Array)]));
    expect(seen.map(([i, origin]) => [i, origin])).toEqual([[0, 'quantize'], [1, 'fc'], [2, 'relu'], [3, 'relu again']]);
    expect(seen[0][2]).toEqual([20, 30, 40, 5, 15, 10]);
    const f = Math.fround;
    const row = ([a, b, c]: number[]): number[] => [f(f(f(0.1) * (a + 2 * b + 3 * c)) + 0), f(f(f(0.2) * (-4 * a + 5 * b - 6 * c)) + 1)];
    const want = [...row([10, 20, 30]), ...row([-5, 5, 0])];
    expect(seen[1][2]).toEqual(want);
    expect([...(out.get('out')!.data as Float32Array)]).toEqual(want.map((v) => Math.max(v, -0)));
    expect(out.get('out')).toMatchObject({ dtype: 'f32', shape: [2, 2] });
    // A second run does not see the first.
    expect(runProgram(p, input(X))).toEqual(out);
  });

  it('refuses inputs that do not match', () => {
    const p = example();
    expect(codeOf(() => runProgram(p, new Map()))).toBe('E302');
    expect(codeOf(() => runProgram(p, input(tensorOf('f32', [3, 2], [1, 2, 3, 4, 5, 6]))))).toBe('E302');
    expect(codeOf(() => runProgram(p, input(tensorOf('f64', [2, 3], [1, 2, 3, 4, 5, 6]))))).toBe('E302');
  });

  it('refuses malformed programs', () => {
    const p = example();
    const [quantize, fc0, ...relus] = p.calls;
    const broken: Record<string, Program> = {
      'order of calls': { ...p, calls: [fc0, quantize, ...relus] },
      'a write to a constant': { ...p, calls: [{ ...fc0, results: [3] } as typeof fc0, ...p.calls] },
      'a write to an input': { ...p, calls: [...p.calls, { ...quantize, args: [0], results: [0] } as typeof quantize] },
      'an unwritten output': { ...p, calls: [] },
      'overlapping strides': { ...p, buffers: p.buffers.map((b, i) => (i === 5 ? { ...b, strides: [1, 1] } : b)) },
      'operands of another size': { ...p, buffers: p.buffers.map((b, i) => (i === 7 ? buffer('y', 'f32', [5]) : b)) },
    };
    for (const [what, program] of Object.entries(broken)) expect(codeOf(() => runProgram(program, input(X))), what).toBe('E901');
  });
});

describe('program JSON', () => {
  it('round-trips, storing equal nests once', () => {
    const p = example();
    const json = JSON.stringify(programToJson(p));
    expect(JSON.parse(json).nests).toHaveLength(2);
    const back = programFromJson(JSON.parse(json), constantsOf(p));
    expect(back).toEqual(p);
    expect(JSON.stringify(programToJson(back))).toBe(json);
    expect(runProgram(back, input(X))).toEqual(runProgram(p, input(X)));
  });

  const withNest = (params: Nest): Program => ({
    name: 'n',
    buffers: OPERANDS.map((o, i) => buffer(`b${i}`, o.dtype, [o.elements])),
    calls: [{ family: 'nest', params, args: OPERANDS.slice(0, 11).map((_, i) => i), results: OPERANDS.slice(11).map((_, i) => 11 + i), origin: '' }],
    inputs: OPERANDS.slice(0, 11).map((_, i) => ({ name: `b${i}`, buffer: i })),
    outputs: [],
  });

  it('round-trips random nests exactly', () => {
    fc.assert(
      fc.property(nests, (nest) => {
        const p = withNest(nest);
        expect(programFromJson(JSON.parse(JSON.stringify(programToJson(p))), constantsOf(p))).toEqual(p);
      }),
      { numRuns: 200, seed: 2 },
    );
  });

  it('refuses whatever is damaged, or gives a program that is well-formed', () => {
    const p = example();
    const junk = [null, -1, 1.5, 2 ** 40, 1e308, 'x', '__proto__', [], {}, [[[]]], true, 'f32', ['f32', 'NaN'], ['load', 99, 0], 7];
    const damaged = (x: unknown, path: readonly number[], by: unknown): unknown => {
      if (path.length === 0 || typeof x !== 'object' || x === null) return by;
      const keys = Object.keys(x);
      if (keys.length === 0) return by;
      const key = keys[path[0] % keys.length];
      const copy = (Array.isArray(x) ? [...x] : { ...x }) as Record<string, unknown>;
      copy[key] = damaged(copy[key], path.slice(1), by);
      return copy;
    };
    let refused = 0;
    fc.assert(
      fc.property(fc.array(fc.nat(40), { minLength: 1, maxLength: 9 }), fc.constantFrom(...junk), (path, by) => {
        const json = damaged(JSON.parse(JSON.stringify(programToJson(p))), path, by);
        const code = codeOf(() => checkProgram(programFromJson(json, constantsOf(p))));
        expect(['E701', 'none']).toContain(code);
        if (code === 'E701') refused++;
      }),
      { numRuns: 3000, seed: 3 },
    );
    expect(refused).toBeGreaterThan(2000);
  });

  type Json = Record<string, unknown>;
  const damage: Record<string, (json: Json & { buffers: Json[]; calls: Json[]; nests: unknown[][] }) => void> = {
    'a future version': (j) => (j.version = 2),
    'a buffer out of range': (j) => (j.calls[0].args = [99]),
    'a huge shape': (j) => (j.buffers[5].shape = [2 ** 20, 2 ** 20]),
    'many large buffers': (j) => j.buffers.push(...Array.from({ length: 40 }, () => ({ name: 'big', dtype: 'f32', shape: [2 ** 28] }))),
    'an unknown operation': (j) => (j.nests[0][1] = [['let', 'a', ['system', 1]]]),
    'a name that is code': (j) => (j.nests[0][1] = [['let', 'a=process.exit()', 1]]),
    'a constant that is too wide': (j) => (j.nests[0][1] = [['let', 'a', 2 ** 31]]),
    'a function of Object': (j) => (j.nests[0][1] = [['let', 'a', ['call', 'constructor', ['f32', 1]]]]),
    'deep nesting': (j) => (j.nests[0][1] = [['let', 'a', Array.from({ length: 5000 }).reduce<unknown>((x) => ['neg', x], 1)]]),
    'groups that do not divide': (j) => (j.calls[1].conv = { ...(j.calls[1].conv as object), groups: 2 }),
    'bits out of range': (j) => (j.calls[1].conv = { ...(j.calls[1].conv as object), weightBits: 9 }),
    'a conv larger than its weights': (j) => (j.calls[1].conv = { ...(j.calls[1].conv as object), kH: 2 }),
  };
  for (const [what, change] of Object.entries(damage)) {
    it(`refuses ${what}`, () => {
      const p = example();
      const json = JSON.parse(JSON.stringify(programToJson(p)));
      change(json);
      expect(codeOf(() => programFromJson(json, constantsOf(p)))).toBe('E701');
    });
  }
});
