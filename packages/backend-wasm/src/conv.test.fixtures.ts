/** Random convolutions for tests, and programs made of them. */
import { type Bits, codeRange } from '@bitloom/numerics';
import { type ConvGeometry, type ConvParams, type KernelCall, type BufferDef, type Port, type Program, convK, convReference } from '@bitloom/kernel-spec';
import { type DType, Rng, type Tensor, type TypedArray, rowMajorStrides, tensor } from '@bitloom/tensor';

export interface ConvCase {
  readonly params: ConvParams;
  readonly x: TypedArray;
  readonly w: TypedArray;
  /** Multiplier and offset, or the bias. */
  readonly rest: readonly Float32Array[];
}

export type Geometry = Omit<ConvGeometry, 'outH' | 'outW'>;

const outSize = (n: number, k: number, s: number, d: number, padding: number): number => Math.floor((n + padding - d * (k - 1) - 1) / s) + 1;

/** Output sizes of a geometry with `after` padding behind the input. */
export const withOutput = (g: Geometry, after: number): ConvGeometry => ({
  ...g,
  outH: outSize(g.inH, g.kH, g.strideH, g.dilH, g.padT + after),
  outW: outSize(g.inW, g.kW, g.strideW, g.dilW, g.padL + after),
});

/** Shapes around the tiles: ragged channels and pixels, reductions that are no multiple of 8, 16 or 128, padding on either side. */
export function randomGeometry(rng: Rng, depthwise: boolean): ConvGeometry {
  for (;;) {
    const style = depthwise ? 4 : rng.int(6);
    const groups = style === 4 ? 2 + rng.int(20) : style === 5 ? 2 + rng.int(3) : 1;
    const [cg, og] = style === 4 ? [1, 1] : [1 + rng.int(style === 0 ? 40 : 9), 1 + rng.int(style === 1 ? 21 : 9)];
    const pointwise = style === 2;
    const g: Geometry = {
      batch: 1 + rng.int(2), inH: 1 + rng.int(6), inW: 1 + rng.int(7), inC: groups * cg, outC: groups * og, groups,
      kH: pointwise ? 1 : 1 + rng.int(4), kW: pointwise ? 1 : 1 + rng.int(4), strideH: 1 + rng.int(2), strideW: 1 + rng.int(3),
      padT: rng.int(3), padL: rng.int(3), dilH: 1 + rng.int(2), dilW: 1 + rng.int(2),
    };
    const full = withOutput(g, rng.int(3));
    if (full.outH >= 1 && full.outW >= 1) return full;
  }
}

/** Values of every kind: uniform, only extremes, or all at one end. */
function integers(rng: Rng, n: number, lo: number, hi: number, binary: boolean): number[] {
  const mode = rng.int(4);
  return Array.from({ length: n }, () => {
    if (binary || mode === 0) return rng.int(2) ? lo : hi;
    return mode === 1 ? hi : lo + rng.int(hi - lo + 1);
  });
}

export function integerCase(rng: Rng, g: ConvGeometry, weightBits: Bits, activationBits: Bits): ConvCase {
  const top = 2 ** activationBits - 1;
  const output = rng.int(3) ? 'codes' : 'f32';
  const lo = output === 'codes' ? rng.int(4) : rng.int(2) ? -Infinity : 0.1;
  const few = rng.int(3) === 0;
  const hi = output === 'codes' ? (few ? lo + rng.int(4) : 4 + rng.int(252)) : rng.int(2) ? Infinity : 6;
  const params: ConvParams = { ...g, kind: 'int', weightBits, activationBits, xZero: rng.int(top + 1), output, lo, hi };
  const range = codeRange({ bits: weightBits, signed: true, axis: null });
  const reach = few ? 5 : 255;
  const spread = reach / (convK(g) * top * 2 ** weightBits);
  return {
    params,
    x: Uint8Array.from(integers(rng, g.batch * g.inH * g.inW * g.inC, 0, top, false)),
    w: Int8Array.from(integers(rng, g.outC * convK(g), range.lo, range.hi, weightBits === 1)),
    rest: [
      Float32Array.from({ length: g.outC }, () => spread * (0.2 + 4 * rng.uniform())),
      Float32Array.from({ length: g.outC }, () => reach * rng.uniform()),
    ],
  };
}

export function floatCase(rng: Rng, g: ConvGeometry): ConvCase {
  const normals = (n: number): Float32Array => Float32Array.from({ length: n }, () => rng.normal());
  const clip = rng.int(2) === 1;
  return {
    params: {
      ...g, kind: 'f32', weightBits: null, activationBits: null, xZero: 0, output: 'f32',
      lo: clip ? 0 : -Infinity, hi: clip ? 6 : Infinity,
    },
    x: normals(g.batch * g.inH * g.inW * g.inC),
    w: normals(g.outC * convK(g)),
    rest: [normals(g.outC)],
  };
}

export interface ConvProgram {
  readonly program: Program;
  readonly inputs: Map<string, Tensor>;
  /** What the reference gives, by case. */
  readonly expected: readonly TypedArray[];
}

/** One call per case; inputs are named x0, x1 …, outputs y0, y1 …. */
export function convProgram(cases: readonly ConvCase[]): ConvProgram {
  const buffers: BufferDef[] = [];
  const calls: KernelCall[] = [];
  const inputs: Port[] = [];
  const outputs: Port[] = [];
  const feed = new Map<string, Tensor>();
  const buffer = (name: string, dtype: DType, elements: number, data: TypedArray | null): number =>
    buffers.push({ name, dtype, shape: [elements], strides: rowMajorStrides([elements]), elements, quant: null, data }) - 1;
  const expected = cases.map((c, i) => {
    const { params: p } = c;
    const xType = p.kind === 'int' ? 'u8' : 'f32';
    const yType = p.output === 'codes' ? 'u8' : 'f32';
    const n = p.batch * p.outH * p.outW * p.outC;
    const x = buffer(`x${i}`, xType, c.x.length, null);
    const w = buffer(`w${i}`, p.kind === 'int' ? 'i8' : 'f32', c.w.length, c.w);
    const rest = c.rest.map((r, j) => buffer(`r${i}_${j}`, 'f32', r.length, r));
    const y = buffer(`y${i}`, yType, n, null);
    calls.push({ family: 'conv', params: p, args: [x, w, ...rest], results: [y], origin: `conv${i}` });
    inputs.push({ name: `x${i}`, buffer: x });
    outputs.push({ name: `y${i}`, buffer: y });
    feed.set(`x${i}`, tensor(xType, [c.x.length], c.x));
    const out = yType === 'u8' ? new Uint8Array(n) : new Float32Array(n);
    convReference(p, [c.x, c.w, ...c.rest], out);
    return out;
  });
  return { program: { name: 'convs', buffers, calls, inputs, outputs }, inputs: feed, expected };
}
