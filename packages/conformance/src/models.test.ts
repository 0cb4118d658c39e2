import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { NO_C_COMPILER, findCompiler, planC } from '@bitloom/backend-c';
import { WASM_VARIANTS, emitWasm, runWasm } from '@bitloom/backend-wasm';
import { makePlan } from '@bitloom/codegen';
import { prepare } from '@bitloom/compiler';
import { openModel } from '@bitloom/engine';
import { type Graph, valueOf } from '@bitloom/ir';
import { convMacs, runProgram } from '@bitloom/kernel-spec';
import { readOnnx } from '@bitloom/onnx';
import { Rng, type Tensor, elementCount, isFloat, tensorOf } from '@bitloom/tensor';
import { lowerGraph } from '@bitloom/transforms';
import { describe, expect, it } from 'vitest';
import { runBatch, startBatch } from './c-batch.js';
import { type Tolerance, bitDifference, difference } from './compare.js';

const folder = `${process.env.BITLOOM_DATA ?? fileURLToPath(new URL('../../../../shared/data', import.meta.url))}/models`;
const there = existsSync(folder);
const compiler = await findCompiler();

/** Sizes that files leave open, beside the batch. */
const DEFINE: Readonly<Record<string, Readonly<Record<string, number>>>> = {
  'silero_vad_16k_op15.onnx': { sequence: 576 },
  'superresolution_x3.onnx': { H: 56, W: 40 },
};
/** Values of integer inputs: a sampling rate, tokens of a vocabulary. */
const INTEGERS: Readonly<Record<string, (rng: Rng) => number>> = { sr: () => 16000, tokens: (rng) => rng.int(512) };

/**
 * Sums of thousands of products in another order than onnxruntime's, through tens of layers: relative to the largest element of
 * an output (at most 6e-6 was seen), plus what its sigmoid is off near zero, where the outputs of a detector on noise lie.
 */
const AGAINST_ONNXRUNTIME = { ofLargest: 2e-5, atol: 2e-7 };
function toleranceFor(expected: Tensor): Tolerance {
  if (!isFloat(expected.dtype)) return { rtol: 0, atol: 0 };
  const largest = (expected.data as Float32Array).reduce((m, v) => Math.max(m, Math.abs(v)), 0);
  return { rtol: 0, atol: AGAINST_ONNXRUNTIME.atol + AGAINST_ONNXRUNTIME.ofLargest * largest };
}

/** Multiplications of convolutions up to which the interpreter is waited for. */
const REFERENCE_MACS = 5e7;

function randomInputs(g: Graph, rng: Rng): Map<string, Tensor> {
  return new Map(g.inputs.map((id) => {
    const { name, type } = valueOf(g, id);
    const at = isFloat(type.dtype) ? () => rng.normal() : () => INTEGERS[name](rng);
    return [name, tensorOf(type.dtype, type.shape, Array.from({ length: elementCount(type.shape) }, at))];
  }));
}

if (!there) console.log(`models: skipped, no ${folder}; set BITLOOM_DATA`);
else if (!compiler) console.log(`models: C is left out, ${NO_C_COMPILER}`);
const files = there ? readdirSync(folder).filter((f) => f.endsWith('.onnx')) : [];

describe.skipIf(!there)('models of the data folder', () => {
  it.each(files)('%s: WebAssembly = C = reference, as onnxruntime', async (file) => {
    const { graph } = await readOnnx(`${folder}/${file}`, { define: DEFINE[file] });
    const program = lowerGraph(await prepare(graph));
    const inputs = randomInputs(graph, new Rng(7));
    const batch = compiler ? startBatch([{ name: file, plans: planC(program), inputs }]) : null;

    const wasm = async (target: string, variants: typeof WASM_VARIANTS): Promise<Map<string, Tensor>> => {
      const plan = makePlan(program, { target, variants });
      return runWasm(await emitWasm(plan), plan, inputs);
    };
    const found = await wasm('wasm', WASM_VARIANTS);

    const session = await openModel(readFileSync(`${folder}/${file}`));
    const expected = await session.run(inputs);
    await session.close();
    const apart = [...expected].flatMap(([name, t]) => difference(found.get(name)!, t, toleranceFor(t)) ?? []);
    expect(apart).toEqual([]);

    const macs = program.calls.reduce((n, c) => n + (c.family === 'conv' ? convMacs(c.params) : 0), 0);
    const others = new Map([['wasm-scalar', await wasm('wasm-scalar', WASM_VARIANTS.filter((v) => v.isa === 'scalar'))]]);
    if (macs <= REFERENCE_MACS) others.set('reference', runProgram(program, inputs));
    if (batch) others.set('c', (await runBatch(batch))![0]);
    for (const [runtime, outputs] of others) {
      for (const [name, t] of outputs) expect(bitDifference(found.get(name)!, t), `${runtime}: ${name}`).toBeNull();
    }
  }, 300_000);
});
