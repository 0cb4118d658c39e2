/** Random convolutions as programs: each is one call with its own input and output. */
import type { Plan } from '@bitloom/codegen';
import type { CIsa } from './isa.js';
import { BitloomError } from '@bitloom/diagnostics';
import { type ConvGeometry, type ConvParams, type KernelCall, type BufferDef, type Program, type TensorMap, convK, convReference } from '@bitloom/kernel-spec';
import type { Bits } from '@bitloom/numerics';
import { DTYPES, type DType, Rng, type Tensor, type TypedArray, rowMajorStrides, tensor } from '@bitloom/tensor';
import { type CRun, type CVariant, compileC, emitC, planC, runC } from './index.js';

export interface ConvCase {
  readonly name: string;
  readonly params: ConvParams;
  readonly weights: TypedArray;
  readonly scale: Float32Array;
  readonly offset: Float32Array;
  readonly x: TypedArray;
}

export const pick = <T>(rng: Rng, items: readonly T[]): T => items[rng.int(items.length)];

/** Output size of one axis. */
const outSize = (n: number, k: number, stride: number, before: number, after: number, dil: number): number =>
  Math.floor((n + before + after - (k - 1) * dil - 1) / stride) + 1;

/** `grouped4`: groups of a multiple of four output channels. `tiles`: channels and columns below, at and above what register tiles hold. */
export type Shape = 'any' | 'depthwise' | 'dense' | 'grouped' | 'grouped4' | 'tiles';

const near = (rng: Rng, multiple: number, most: number): number => Math.max(1, multiple * (1 + rng.int(most)) - 1 + rng.int(3));

function tileGeometry(rng: Rng) {
  const [kH, kW] = pick(rng, [[1, 1], [1, 1], [3, 3], [1, 3], [2, 1]]);
  const depthwise = rng.int(4) === 0;
  const outC = pick(rng, [near(rng, 8, 4), near(rng, 16, 4), near(rng, 64, 2), 128]);
  const inC = depthwise ? outC : pick(rng, [3, near(rng, 6, 3), near(rng, 16, 2), near(rng, 64, 1), 128, 200]);
  const [inH, inW, pad] = [pick(rng, [1, 2, 5]), near(rng, 6, 3), kH === 3 ? 1 : 0];
  return {
    batch: 1, inH: inH + 2 - 2 * pad, inW: inW + 2 - 2 * pad, inC, outC, kH, kW, strideH: 1, strideW: 1, padT: pad, padL: pad, dilH: 1, dilW: 1, groups: depthwise ? outC : 1,
    outH: inH + 3 - kH, outW: inW + 3 - kW,
  };
}

/** A random geometry with ragged channels, padding, strides and dilation, small enough for the scalar reference. */
export function randomGeometry(rng: Rng, shape: Shape = 'any') {
  if (shape === 'tiles') return tileGeometry(rng);
  const grouping = shape === 'any' ? pick(rng, ['dense', 'dense', 'grouped', 'depthwise', 'pointwise']) : shape;
  const wide = rng.int(4) === 0;
  const groups = grouping === 'depthwise' ? pick(rng, [1, 3, 17, 70]) : grouping.startsWith('grouped') ? 1 + rng.int(4) : 1;
  const cg = grouping === 'depthwise' ? 1 : wide ? 33 + rng.int(60) : 1 + rng.int(20);
  const og = grouping === 'depthwise' ? 1 : grouping === 'grouped4' ? 4 + 4 * rng.int(2) : 1 + rng.int(11);
  const [kH, kW] = grouping === 'pointwise' ? [1, 1] : [1 + rng.int(3), 1 + rng.int(4)];
  const [strideH, strideW, dilH, dilW] = grouping === 'pointwise' ? [1, 1, 1, 1] : [1 + rng.int(2), 1 + rng.int(3), 1 + rng.int(2), 1 + rng.int(2)];
  const [padT, padL, padB, padR] = grouping === 'pointwise' ? [0, 0, 0, 0] : [rng.int(kH + 1), rng.int(kW + 1), rng.int(kH + 1), rng.int(kW + 1)];
  const inH = Math.max(1 + rng.int(6), (kH - 1) * dilH + 1 - padT - padB);
  const inW = Math.max(1 + rng.int(12), (kW - 1) * dilW + 1 - padL - padR);
  return {
    batch: 1 + rng.int(2), inH, inW, inC: cg * groups, outC: og * groups, kH, kW, strideH, strideW, padT, padL, dilH, dilW, groups,
    outH: outSize(inH, kH, strideH, padT, padB, dilH), outW: outSize(inW, kW, strideW, padL, padR, dilW),
  };
}

export interface IntCaseOptions {
  readonly shape?: Shape;
  readonly geometry?: ConvGeometry;
  /** Weights and codes at the ends of their ranges; all of them at the same end where `full`. */
  readonly extreme?: boolean | 'full';
  readonly output?: 'codes' | 'f32';
}

export function randomIntCase(rng: Rng, w: Bits, a: Bits, options: IntCaseOptions = {}): ConvCase {
  const g = options.geometry ?? randomGeometry(rng, options.shape);
  const full = options.extreme === 'full';
  const end = rng.int(2);
  const output = options.output ?? pick(rng, ['codes', 'codes', 'f32']);
  const top = 2 ** a - 1;
  const xZero = options.extreme ? pick(rng, [0, top]) : pick(rng, [0, rng.int(top + 1)]);
  const least = rng.int(40);
  const codes: readonly [number, number] = pick(rng, [[0, 255], [least, 200], [0, 1], [0, 3], [least, least + 2]]);
  const few = output === 'codes' && codes[1] - codes[0] < 4;
  const params: ConvParams = {
    ...g, kind: 'int', weightBits: w, activationBits: a, xZero, output,
    lo: output === 'codes' ? codes[0] : pick(rng, [0, -Infinity, -6]), hi: output === 'codes' ? codes[1] : pick(rng, [6, Infinity]),
  };
  const k = convK(params);
  const half = 2 ** (w - 1);
  const ends = w === 1 ? [-1, 1] : [-half, half - 1];
  const value = (): number => (full ? ends[end] : w === 1 ? 2 * rng.int(2) - 1 : options.extreme ? pick(rng, ends) : rng.int(2 * half) - half);
  const spread = (half * top * Math.sqrt(k)) / (few ? 2 : 100);
  return {
    name: `w${w}a${a}`, params,
    weights: Int8Array.from({ length: g.outC * k }, value),
    scale: Float32Array.from({ length: g.outC }, () => (0.2 + rng.uniform()) / spread),
    offset: Float32Array.from({ length: g.outC }, () => (few ? codes[0] + rng.uniform() * 6 - 2 : rng.uniform() * 256 - 32)),
    x: Uint8Array.from({ length: g.batch * g.inH * g.inW * g.inC }, () => (full ? top : options.extreme ? pick(rng, [0, top]) : rng.int(top + 1))),
  };
}

export function randomF32Case(rng: Rng, shape: Shape = 'any', g: ConvGeometry = randomGeometry(rng, shape)): ConvCase {
  const params: ConvParams = { ...g, kind: 'f32', weightBits: null, activationBits: null, xZero: 0, output: 'f32', lo: pick(rng, [0, -Infinity]), hi: pick(rng, [2, Infinity]) };
  const normals = (n: number): Float32Array => Float32Array.from({ length: n }, () => rng.normal());
  return { name: 'f32', params, weights: normals(g.outC * convK(params)), scale: normals(g.outC), offset: new Float32Array(0), x: normals(g.batch * g.inH * g.inW * g.inC) };
}

export const buffer = (name: string, dtype: DType, shape: readonly number[], data: TypedArray | null = null): BufferDef => ({
  name, dtype, shape, strides: rowMajorStrides(shape), elements: shape.reduce((p, n) => p * n, 1), quant: null, data,
});

const outputShape = (p: ConvParams): number[] => [p.batch, p.outH, p.outW, p.outC];
const outputType = (p: ConvParams): 'u8' | 'f32' => (p.output === 'codes' ? 'u8' : 'f32');

/** Every case as one call of one program, with port names x0, y0, x1 … */
export function convProgram(cases: readonly ConvCase[]): { program: Program; sample: TensorMap } {
  const buffers: BufferDef[] = [];
  const add = (b: BufferDef): number => buffers.push(b) - 1;
  const calls: KernelCall[] = [];
  const inputs: Program['inputs'][number][] = [];
  const outputs: Program['outputs'][number][] = [];
  const sample = new Map<string, Tensor>();
  cases.forEach((c, i) => {
    const p = c.params;
    const int = p.kind === 'int';
    const shape = [p.batch, p.inH, p.inW, p.inC];
    const x = add(buffer(`x${i}`, int ? 'u8' : 'f32', shape));
    const args = [x, add(buffer(`w${i}`, int ? 'i8' : 'f32', [c.weights.length], c.weights)), add(buffer(`s${i}`, 'f32', [p.outC], c.scale))];
    if (int) args.push(add(buffer(`o${i}`, 'f32', [p.outC], c.offset)));
    const y = add(buffer(`y${i}`, outputType(p), outputShape(p)));
    calls.push({ family: 'conv', params: p, args, results: [y], origin: `${c.name}_${i}` });
    inputs.push({ name: `x${i}`, buffer: x });
    outputs.push({ name: `y${i}`, buffer: y });
    sample.set(`x${i}`, tensor(int ? 'u8' : 'f32', shape, c.x));
  });
  return { program: { name: 'cases', buffers, calls, inputs, outputs }, sample };
}

export function expected(c: ConvCase): TypedArray {
  const y = new DTYPES[outputType(c.params)].array(outputShape(c.params).reduce((p, n) => p * n, 1));
  convReference(c.params, [c.x, c.weights, c.scale, c.offset], y);
  return y;
}

export const describeCase = (c: ConvCase): string => `${c.name} ${JSON.stringify(c.params)}`;

/** A case and the kernel it is for. */
export interface Pinned {
  readonly variant: CVariant;
  readonly c: ConvCase;
}

/**
 * Every case as a call of its kernel. Libraries begin with a portable plan, which does not run where the kernels are for another
 * instruction set: it is made of the kernels that compile fastest.
 */
export function pinnedPlans(cases: readonly Pinned[], isa: CIsa, threads = 1): { plans: readonly Plan[]; sample: TensorMap } {
  // Several kernels may be pinned to one case: each call has parameters of its own.
  const own = cases.map(({ variant, c }) => ({ variant, c: { ...c, params: { ...c.params } } }));
  const { program, sample } = convProgram(own.map((p) => p.c));
  const chosen = new Map<ConvParams, CVariant>(own.map((p) => [p.c.params, p.variant]));
  const pinned = planC(program, { isas: [isa], threads, filter: (v, p) => chosen.get(p) === v });
  const base = isa === 'portable' ? [] : planC(program, { isas: ['portable'], threads, filter: (v) => ['int8', 'f32_panel4', 'f32'].includes(v.name) });
  return { plans: [...base, ...pinned], sample };
}

/** Bits of a typed array, every NaN as the same one. */
export function canonicalBits(x: TypedArray): Uint8Array {
  const copy = x.slice() as TypedArray;
  if (copy instanceof Float32Array || copy instanceof Float64Array) copy.forEach((v, i) => Number.isNaN(v) && (copy[i] = NaN));
  return new Uint8Array(copy.buffer, copy.byteOffset, copy.byteLength);
}

/** Warnings that generated code must not cause. */
const STRICT = ['-Wall', '-Wextra', '-Wpedantic', '-Werror'];

/** Compiles plans strictly, runs one sample, and removes the binary. Compiler messages become the error's text. */
export async function runOnce(plans: readonly Plan[], sample: TensorMap, cc: string, flags: readonly string[], isa?: CIsa): Promise<CRun> {
  const binary = await compileC(emitC(plans, { name: 'test' }), { cc, flags: [...STRICT, ...flags] }).catch((error: unknown) => {
    throw error instanceof BitloomError ? new Error(error.diagnostic.found, { cause: error }) : error;
  });
  try {
    return (await runC(binary!, plans[0], [sample], { isa }))[0];
  } finally {
    await binary!.dispose();
  }
}
