import { execFile } from 'node:child_process';
import { type Program, e, runProgram } from '@bitloom/kernel-spec';
import { Rng, type Tensor, bytesOf, tensor } from '@bitloom/tensor';
import { describe, expect, it } from 'vitest';
import { NO_C_COMPILER, arenaBytes, cName, compileC, emitC, emitVectors, findCompiler, planC, runC } from './index.js';
import { identifier, floatLiteral, uniqueIdentifiers, wordLines } from './c-text.js';
import { buffer, convProgram, randomF32Case, randomIntCase } from './test-programs.test.fixtures.js';

/** Exit code and first stream that is not empty. */
const selftest = (path: string, ...args: string[]): Promise<string> =>
  new Promise((resolve) => execFile(path, args, (error, stdout, stderr) => resolve(`${error?.code ?? 0} ${(stdout || stderr).trim()}`)));

const cc = await findCompiler();
if (!cc) console.log(`skipped: ${NO_C_COMPILER}`);

/** Two convolutions, a nest (y2 = sqrt(|input 2|)), and an input and a constant that are outputs themselves; names are hostile. */
function network(n = 37) {
  const rng = new Rng(9);
  const cases = [randomIntCase(rng, 3, 5, { output: 'codes' }), randomF32Case(rng, 'dense')];
  const { program, sample } = convProgram(cases);
  const x2 = program.buffers.length;
  const load = { k: 'load', t: 'f32', buf: 0, at: { k: 'var', t: 'i32', name: 'int' } } as const;
  const full: Program = {
    ...program,
    buffers: [...program.buffers, buffer('float', 'f32', [n]), buffer('y2', 'f32', [n]), buffer('constant', 'i64', [3], BigInt64Array.of(1n, -2n, 2n ** 62n))],
    calls: [...program.calls, {
      family: 'nest', args: [x2], results: [x2 + 1], origin: 'evil */ name',
      params: {
        operands: [{ dtype: 'f32', elements: n }, { dtype: 'f32', elements: n }],
        body: [{ s: 'for', v: 'int', n: e.i32(n), body: [{ s: 'store', buf: 1, at: load.at, x: e.sqrt(e.abs(load)) }] }],
      },
    }],
    inputs: [...program.inputs, { name: 'float', buffer: x2 }],
    outputs: [...program.outputs, { name: 'a/b "c"', buffer: x2 + 1 }, { name: 'a-b-c', buffer: x2 + 2 }, { name: 'm_output', buffer: x2 + 2 }, { name: 'x0', buffer: program.inputs[0].buffer }],
  };
  const values = Float32Array.from({ length: n }, () => rng.normal());
  values[3] = NaN;
  return { program: full, sample: new Map<string, Tensor>([...sample, ['float', tensor('f32', [n], values)]]) };
}

describe('emitC', () => {
  const { program, sample } = network();
  const plans = planC(program);
  const [plan] = plans;
  const outputs = runProgram(program, sample);
  const files = emitC(plans, { name: 'ResNet-20 (v1)', vectors: [{ inputs: sample, outputs }] });

  it('names files, functions and macros after the model', () => {
    expect([...files.keys()]).toEqual(['ResNet_20_v1.h', 'ResNet_20_v1.c', 'weights.c', 'selftest.c', 'vectors.h', 'CMakeLists.txt']);
    const header = files.get('ResNet_20_v1.h')!;
    expect(header).toContain('void ResNet_20_v1_run(const uint8_t *x0, const float *x1, const float *float_, uint8_t *y0, float *y1, float *a_b_c, int64_t *a_b_c_2, int64_t *m_output, uint8_t *x0_2, void *arena);');
    expect(header).toContain(`#define RESNET_20_V1_ARENA_BYTES ${arenaBytes(plans)}\n`);
    expect(header).toContain('#define RESNET_20_V1_INPUT_FLOAT__SHAPE { 37 }\n');
    expect(files.get('ResNet_20_v1.c')).toContain('/* evil * / name */');
  });

  it('gives the same text again', () => {
    expect([...emitC(planC(network().program), { name: 'ResNet-20 (v1)', vectors: [{ inputs: sample, outputs }] })]).toEqual([...files]);
  });

  it('shares the function of equal nests', () => {
    const twice = { ...program, calls: [...program.calls, program.calls[2]] };
    const code = emitC(planC(twice), { name: 'm' }).get('m.c')!;
    expect(code.match(/static BL_NOINLINE void nest_\d+\(/g)).toEqual(['static BL_NOINLINE void nest_0(']);
    expect(code.match(/ {4}nest_0\(/g)).toHaveLength(2 * plans.length);
  });

  it('refuses vectors that do not fit', () => {
    expect(() => emitVectors(plan, [{ inputs: new Map(), outputs }])).toThrow('recorded vector');
    expect(() => emitVectors(plan, [{ inputs: new Map(sample).set('float', tensor('f32', [1], Float32Array.of(1))), outputs }])).toThrow('recorded vector');
  });

  describe.skipIf(!cc)('compiled', () => {
    it('passes its self-test, and fails it for wrong outputs', async () => {
      const good = (await compileC(files))!;
      const y1 = tensor('f32', outputs.get('y1')!.shape, Float32Array.from(outputs.get('y1')!.data as Float32Array, (v, i) => (i === 2 ? v + 1e-3 : v)));
      const bad = (await compileC(emitC(plans, { name: 'm', vectors: [{ inputs: sample, outputs: new Map(outputs).set('y1', y1) }] }), { flags: ['-std=c99', '-O0'] }))!;
      try {
        expect(await selftest(good.path)).toMatch(/^0 PASS 1 vectors, portable(\nPASS 1 vectors, \w+)*$/);
        expect(await selftest(bad.path)).toBe('1 FAIL vector 0, output y1, byte 8, portable');
      } finally {
        await Promise.all([good.dispose(), bad.dispose()]);
      }
    });

    it('passes it with nests that are compiled for every instruction set', async () => {
      const large = network(5000);
      const plans = planC(large.program);
      const all = emitC(plans, { name: 'm', vectors: [{ inputs: large.sample, outputs: runProgram(large.program, large.sample) }] });
      expect(all.get('m.c')!.match(/^ {4}nest_0_\w+/gm)!.map((c) => c.trim())).toEqual(plans.map((p) => `nest_0_${p.target}`));
      for (const flags of [['-std=c99', '-O0'], ['-std=gnu99', '-O2', '-Wall', '-Wextra', '-Werror']]) {
        const binary = (await compileC(all, { flags }))!;
        try {
          expect(await selftest(binary.path)).toMatch(/^0 PASS 1 vectors, portable(\nPASS 1 vectors, \w+)*$/);
        } finally {
          await binary.dispose();
        }
      }
    });

    it('leaves instruction sets out on request', async () => {
      const binary = (await compileC(files, { flags: ['-std=c99', '-O1', '-DBITLOOM_NO_SIMD'] }))!;
      try {
        expect(await selftest(binary.path)).toBe('0 PASS 1 vectors, portable');
        expect(await selftest(binary.path, 'portable')).toBe('0 PASS 1 vectors, portable');
        expect(await selftest(binary.path, 'avx2')).toBe('2 avx2 is not compiled in, or the processor does not have it');
      } finally {
        await binary.dispose();
      }
    });

    it('streams several samples, with the results of every call', async () => {
      const binary = (await compileC(files, { flags: ['-std=c99', '-O0', '-fsanitize=address,undefined', '-fno-sanitize-recover=all'] }))!;
      const rng = new Rng(10);
      const samples = [sample, new Map([...sample].map(([k, t]) => [k, t.dtype === 'f32' ? tensor('f32', t.shape, Float32Array.from(t.data as Float32Array, () => rng.normal())) : t]))];
      try {
        const runs = await runC(binary, plan, samples, { steps: true });
        expect(runs).toHaveLength(2);
        for (const [i, s] of samples.entries()) {
          const steps: Uint8Array[] = [];
          const want = runProgram(program, s, (_, __, results) => void steps.push(...results.map((r) => bytesOf({ dtype: 'u8', shape: [], data: r }).slice())));
          expect(runs[i].steps!.flat()).toEqual(steps);
          for (const [name, t] of want) expect(bytesOf(runs[i].outputs.get(name)!)).toEqual(bytesOf(t));
        }
        expect((await runC(binary, plan, samples))[1].outputs).toEqual(runs[1].outputs);
        await expect(runC(binary, plan, [new Map([['x0', sample.get('x1')!]])])).rejects.toThrow('does not fit');
      } finally {
        await binary.dispose();
      }
    });

    it('turns compiler errors into E603', async () => {
      await expect(compileC(new Map([['x.c', 'int main(void) { return y; }']]))).rejects.toMatchObject({ code: 'E603', diagnostic: { found: expect.stringContaining('undeclared') } });
    });
  });
});

it('finds no compiler where there is none', async () => {
  expect(await findCompiler(['', '/nonexistent/cc'])).toBeNull();
});

describe('C text', () => {
  it('makes identifiers', () => {
    expect(['a b', '1x', 'int', '', 'ünï', '__x__', 'class'].map(identifier)).toEqual(['a_b', 'n1x', 'int_', 'x', 'n', 'x', 'class_']);
    expect(uniqueIdentifiers(['a.b', 'a b', 'c'], ['c'])).toEqual(['a_b', 'a_b_2', 'c_2']);
    expect(cName('../../etc/passwd')).toBe('etc_passwd');
  });

  it('writes floats exactly', () => {
    const rng = new Rng(11);
    const parse = (s: string): number => {
      const [, sign, whole, digits = '', exponent] = /^\(?(-?)0x(\d)(?:\.([0-9a-f]+))?p([+-]\d+)f?\)?$/.exec(s) ?? [];
      if (whole === undefined) return Number(s.replace(/[()f]/g, ''));
      return (sign ? -1 : 1) * (Number(whole) + parseInt(digits.padEnd(13, '0'), 16) / 2 ** 52) * 2 ** Number(exponent);
    };
    const values = new Float64Array(Uint32Array.from({ length: 4000 }, () => rng.u32()).buffer).filter(Number.isFinite);
    for (const v of [...values, 0, -0, 1, -3, 0.1, 5e-324, Number.MAX_VALUE, 2 ** -1022, 1 - 2 ** -53]) {
      expect(parse(floatLiteral(v, 'f64')), floatLiteral(v, 'f64')).toBe(v);
      const f = Math.fround(v);
      if (Number.isFinite(f)) expect(parse(floatLiteral(f, 'f32'))).toBe(f);
    }
    expect([Infinity, -Infinity, NaN].map((v) => floatLiteral(v, 'f32'))).toEqual(['INFINITY', '(-INFINITY)', 'NAN']);
  });

  it('writes bytes as little-endian words', () => {
    expect(wordLines(Uint8Array.of(1, 0, 0, 0, 0, 0, 0, 0x80, 2, 3))).toBe('  0x8000000000000001, 0x302,');
  });
});
