/** Every pair of bit-widths, through the whole pipeline: WASM = C = reference. */
import { NO_C_COMPILER, compileC, emitC, findCompiler, planC, runC } from '@bitloom/backend-c';
import { emitWasm, instantiateWasm, variantsFor } from '@bitloom/backend-wasm';
import { type VariantFilter, makePlan } from '@bitloom/codegen';
import { type Program, type TensorMap, runProgram } from '@bitloom/kernel-spec';
import { createBuilder } from '@bitloom/ops';
import { Rng } from '@bitloom/tensor';
import { quantizable } from '@bitloom/transforms';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { addConv, enableRelaxed, options, random, workplace } from './networks.test.util.js';
import { loadModel } from './model.js';
import { compileToProgram } from './pipeline.js';

const WIDTHS = [1, 2, 3, 4, 5, 6, 7, 8];
const PAIRS = WIDTHS.flatMap((w) => WIDTHS.map((a) => ({ w, a })));
const cc = await findCompiler();
if (!cc) console.log(`skipped: ${NO_C_COMPILER}`);

const temp = workplace();
afterAll(temp.dispose);

/** First convolutions of the branches: ragged, grouped with a stride, depthwise, even-sized with a stride. */
const SHAPES = [
  { outputs: 5, size: 3 },
  { outputs: 9, size: 3, stride: 2, group: 3 },
  { outputs: 6, size: 3, group: 6 },
  { outputs: 7, size: 2, stride: 2 },
];

/** One branch of two convolutions a pair; the second reads what the first writes as codes. */
async function compilePairs(): Promise<{ program: Program; sample: TensorMap }> {
  const rng = new Rng(3);
  const b = createBuilder('pairs');
  const x = b.input('x', { dtype: 'f32', shape: [1, 6, 7, 9] });
  const outputs = PAIRS.map((_, i) => {
    const shape = SHAPES[i % SHAPES.length];
    // Something added, so that every branch quantises an input of its own.
    const own = b.add('add', [x, b.const(random(rng, [1, 6, 1, 1]), 'shift')], {});
    const h = b.add('relu', [addConv(b, rng, own, { channels: 6, pads: [1, 0, 1, 1], ...shape })], {});
    return addConv(b, rng, h, { channels: shape.outputs, outputs: 3, size: 3 });
  });
  const file = temp.model('pairs', b.build(outputs));
  const { layers } = quantizable((await loadModel(file)).graph);
  const pin = layers.map((l, i) => `${l.name}=w${PAIRS[i >> 1].w}a${PAIRS[i >> 1].a}`);
  const { program } = await compileToProgram(file, options({ samples: 4, pin, freeEnds: true }));
  return { program: program!, sample: new Map([['x', random(rng, [1, 6, 7, 9], 1.5)]]) };
}

describe('all 64 pairs of bit-widths on small networks', () => {
  let program: Program;
  let sample: TensorMap;
  let expected: Uint8Array[][];
  beforeAll(async () => {
    ({ program, sample } = await compilePairs());
    expected = [];
    runProgram(program, sample, (_, __, results) => void expected.push(results.map((r) => new Uint8Array(r.slice().buffer))));
  });

  const bitserial: VariantFilter = (v, p) => v.kernel === (p.kind === 'int' ? 'bitserial' : 'f32');
  const compare = (got: readonly (readonly Uint8Array[])[]): void =>
    got.forEach((results, call) => results.forEach((r, i) => expect(Buffer.compare(r, expected[call][i]), `call ${call}: ${program.calls[call].origin}`).toBe(0)));

  it('compute with the pair they were given', () => {
    const convs = program.calls.flatMap((c) => (c.family === 'conv' ? [c.params] : []));
    expect(convs.map((p) => [p.kind, p.weightBits, p.activationBits, p.output])).toEqual(PAIRS.flatMap(({ w, a }) => [['int', w, a, 'codes'], ['int', w, a, 'f32']]));
    // Codes use their range: no branch is constant.
    program.calls.forEach((c, i) => c.family === 'conv' && c.params.output === 'codes' && expect(new Set(expected[i][0]).size, c.origin).toBeGreaterThan(1));
  });

  const kernels = [['the chosen kernels', undefined], ['bit planes', bitserial]] as const;
  it.each(['wasm', ...(enableRelaxed() ? ['wasm-relaxed'] : []), 'wasm-scalar'].flatMap((target) => kernels.map(([name, filter]) => [target, name, filter] as const)))('%s equals the reference after every call: %s', async (target, _, filter) => {
    const plan = makePlan(program, { target, variants: variantsFor(target), filter });
    const steps: (readonly Uint8Array[])[] = [];
    (await instantiateWasm(await emitWasm(plan), plan)).runSteps(sample, (_, results) => void steps.push(results));
    expect(steps.length).toBe(program.calls.length);
    compare(steps);
  });

  it.skipIf(!cc).each(kernels)('C equals the reference after every call: %s', async (_, filter) => {
    const plans = planC(program, { filter: filter && ((v, p) => filter(v, p) || p.weightBits === 8) });
    const binary = await compileC(emitC(plans, { name: 'pairs' }), { cc: cc!, flags: ['-std=c99', '-O0'] });
    try {
      const [{ steps }] = await runC(binary!, plans[0], [sample], { steps: true });
      expect(steps!.length).toBe(program.calls.length);
      compare(steps!);
    } finally {
      await binary!.dispose();
    }
  });
});
