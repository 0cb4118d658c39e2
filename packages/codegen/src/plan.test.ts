import type { BufferDef, ConvParams, KernelCall, Nest, Program } from '@bitloom/kernel-spec';
import { type Bits, packPlanes, weightCode } from '@bitloom/numerics';
import { DTYPES, type DType, type TypedArray, rowMajorStrides } from '@bitloom/tensor';
import { describe, expect, it } from 'vitest';
import { ALIGNMENT, type KernelVariant, type Location, PACKINGS, type Plan, WEIGHTS_SLACK, makePlan, rankVariants } from './index.js';

const variant = (name: string, o: Partial<KernelVariant> = {}): KernelVariant => ({
  name, kernel: 'int8', isa: 'scalar', accepts: () => true, cost: () => 1, packing: () => 'bytes', scratch: () => 0, prepared: () => 0, symbol: () => name, ...o,
});

const params = (o: Partial<ConvParams> = {}): ConvParams => ({
  batch: 1, inH: 2, inW: 2, inC: 3, outH: 2, outW: 2, outC: 5, kH: 1, kW: 1, strideH: 1, strideW: 1, padT: 0, padL: 0, dilH: 1, dilW: 1, groups: 1,
  kind: 'int', weightBits: 4, activationBits: 8, xZero: 0, output: 'codes', lo: 0, hi: 255, ...o,
});

describe('rankVariants', () => {
  it('takes the cheapest that accepts, the earlier of equals', () => {
    const table = [variant('dear', { cost: () => 9 }), variant('a', { cost: () => 2 }), variant('b', { cost: () => 2 }), variant('no', { accepts: () => false, cost: () => 0 })];
    expect(rankVariants(table, params(), 'n')[0].variant.name).toBe('a');
    expect(rankVariants(table, params(), 'n', (v) => v.name !== 'a')[0].variant.name).toBe('b');
  });
  it('looks at the parameters', () => {
    const table = [variant('few', { kernel: 'bitserial', cost: (p) => p.weightBits! * p.activationBits! }), variant('any', { kernel: 'lut', cost: () => 16 })];
    expect([1, 4, 5].map((w) => rankVariants(table, params({ weightBits: w as Bits, activationBits: 4 }), 'n')[0].variant.name)).toEqual(['few', 'few', 'any']);
  });
  it('prefers int8 to what is hardly faster', () => {
    const ranked = (cost: number): string[] =>
      rankVariants([variant('lut', { kernel: 'lut', cost: () => 100 }), variant('slow', { kernel: 'dual', cost: () => 102 }), variant('int8', { cost: () => cost })], params(), 'n').map((r) => r.variant.name);
    expect([ranked(104), ranked(106)]).toEqual([['int8', 'lut', 'slow'], ['lut', 'slow', 'int8']]);
  });
  it('names the node where nothing accepts: E601', () => {
    const refused = expect.objectContaining({ diagnostic: expect.objectContaining({ code: 'E601', node: 'conv7', found: 'int W4A8', expected: 'x' }) });
    expect(() => rankVariants([variant('x', { accepts: () => false })], params(), 'conv7')).toThrow(refused);
    expect(() => rankVariants([variant('x')], params(), 'conv7', () => false)).toThrow(refused);
  });
});

/** A program under construction. */
class Builder {
  readonly buffers: BufferDef[] = [];
  readonly calls: KernelCall[] = [];
  buffer(dtype: DType, elements: number, data: TypedArray | null = null): number {
    return this.buffers.push({ name: `b${this.buffers.length}`, dtype, shape: [elements], strides: rowMajorStrides([elements]), elements, quant: null, data }) - 1;
  }
  constant(dtype: DType, data: readonly number[]): number {
    return this.buffer(dtype, data.length, new (DTYPES[dtype].array as Float32ArrayConstructor)(data));
  }
  nest(args: readonly number[], results: readonly number[]): void {
    const operands = [...args, ...results].map((b) => ({ dtype: this.buffers[b].dtype, elements: this.buffers[b].elements }));
    this.calls.push({ family: 'nest', params: { operands, body: [] } satisfies Nest, args, results, origin: `nest${this.calls.length}` });
  }
  conv(x: number, w: number, o: Partial<ConvParams> = {}): number {
    const p = params(o);
    const [m, c] = [this.constant('f32', Array<number>(p.outC).fill(1)), this.constant('f32', Array<number>(p.outC).fill(0))];
    const y = this.buffer('u8', p.batch * p.outH * p.outW * p.outC);
    this.calls.push({ family: 'conv', params: p, args: [x, w, m, c], results: [y], origin: `conv${this.calls.length}` });
    return y;
  }
  program(inputs: readonly number[], outputs: readonly number[]): Program {
    return { name: 'p', buffers: this.buffers, calls: this.calls, inputs: inputs.map((buffer) => ({ name: `in${buffer}`, buffer })), outputs: outputs.map((buffer) => ({ name: `out${buffer}`, buffer })) };
  }
}

const range = (l: Location): [number, number] => [l.offset, l.offset + l.bytes];
const overlap = (a: Location, b: Location): boolean => a.region === b.region && a.offset < b.offset + b.bytes && b.offset < a.offset + a.bytes;
const bytesAt = (plan: Plan, l: Location): Uint8Array => plan.weights.subarray(...range(l));

describe('makePlan', () => {
  const weights = Array.from({ length: 15 }, (_, i) => (i % 16) - 8);

  it('puts packed weights first, then raw constants, then slack', () => {
    const b = new Builder();
    const x = b.buffer('u8', 12);
    const table = b.constant('f32', [1.5, -2]);
    const w = b.constant('i8', weights);
    const t = b.buffer('u8', 12);
    b.nest([x, table], [t]);
    const y = b.conv(t, w);
    const plan = makePlan(b.program([x], [y]), { target: 't', variants: [variant('v', { packing: () => 'planes' })] });

    const planes = packPlanes(weights.map((v) => weightCode(v, 4)), 5, 3, 4);
    expect(plan.packedBytes).toBe(Math.ceil(planes.length / ALIGNMENT) * ALIGNMENT);
    expect(plan.constants.map((c) => c.packing)).toEqual(['planes', 'raw', 'raw', 'raw']);
    const [packed, ...raw] = plan.constants;
    expect(packed).toMatchObject({ buffer: w, shape: { rows: 5, k: 3, bits: 4 }, location: { region: 'weights', offset: 0, bytes: planes.length } });
    expect(bytesAt(plan, packed.location)).toEqual(planes);
    for (const c of raw) {
      expect(c.location.offset).toBeGreaterThanOrEqual(plan.packedBytes);
      expect(c.location.offset % ALIGNMENT).toBe(0);
    }
    expect([...new Float32Array(bytesAt(plan, raw[0].location).slice().buffer)]).toEqual([1.5, -2]);
    expect(plan.weights.length).toBe(Math.max(...plan.constants.map((c) => Math.ceil(range(c.location)[1] / ALIGNMENT) * ALIGNMENT)) + WEIGHTS_SLACK);
    expect([...plan.weights.slice(-WEIGHTS_SLACK)]).toEqual(Array(WEIGHTS_SLACK).fill(0));
    expect(plan.calls[1].args.map((a) => a.region)).toEqual(['arena', 'weights', 'weights', 'weights']);
    expect(plan.calls[0].variant).toBeNull();
    expect(plan.calls[1].variant!.name).toBe('v');
  });

  it('packs a constant once per format and shape, however often it is used', () => {
    const b = new Builder();
    const x = b.buffer('u8', 12);
    const w = b.constant('i8', weights);
    const square = { inC: 15, outC: 1, inH: 1, inW: 1, outH: 1, outW: 1 };
    const x15 = b.buffer('u8', 15);
    const ys = [b.conv(x, w), b.conv(x, w), b.conv(x15, w, square)];
    const z = b.buffer('i8', 15);
    b.nest([w], [z]);
    const plan = makePlan(b.program([x, x15], [...ys, z]), { target: 't', variants: [variant('v', { packing: () => 'planes' })] });
    expect(plan.calls[0].args[1]).toEqual(plan.calls[1].args[1]);
    const used = plan.constants.filter((c) => c.buffer === w);
    expect(used.map((c) => [c.packing, c.shape?.rows])).toEqual([['planes', 5], ['planes', 1], ['raw', undefined]]);
    for (const c of used) {
      const back = c.packing === 'raw' ? new Int8Array(bytesAt(plan, c.location).slice().buffer) : PACKINGS[c.packing].unpack(bytesAt(plan, c.location), c.shape!);
      expect([...(back as Int8Array)]).toEqual(weights);
    }
    expect(used.some((a, i) => used.some((c, j) => i < j && overlap(a.location, c.location)))).toBe(false);
  });

  it('gives everything alive at once its own place: inputs from the start, outputs to the end, scratch during its call', () => {
    const b = new Builder();
    const [x, late] = [b.buffer('u8', 12), b.buffer('u8', 40)];
    const early = b.buffer('u8', 24);
    b.nest([x], [early]);
    const w = b.constant('i8', weights);
    const y = b.conv(x, w);
    const [t, last] = [b.buffer('u8', 100), b.buffer('u8', 10)];
    b.nest([y], [t]);
    b.nest([t, late], [last]);
    const program = b.program([x, late], [early, last]);
    const plan = makePlan(program, { target: 't', variants: [variant('v', { scratch: () => 77 })] });

    const [scratch] = plan.calls.flatMap((c) => c.scratch ?? []);
    expect(scratch.bytes).toBe(77);
    expect(plan.calls.map((c) => c.scratch !== null)).toEqual([false, true, false, false]);
    const [px, pLate] = plan.inputs.map((p) => p.location);
    const [pEarly, pLast] = plan.outputs.map((p) => p.location);
    const pY = plan.calls[1].results[0];
    const pT = plan.calls[2].results[0];
    const together = [[px, pLate, pEarly], [px, scratch, pY, pLate, pEarly], [pY, pT, pLate, pEarly], [pT, pLate, pLast, pEarly]];
    for (const alive of together) alive.forEach((a, i) => alive.slice(0, i).forEach((c) => expect(overlap(a, c), JSON.stringify([a, c])).toBe(false)));
    for (const l of together.flat()) expect(l.offset + l.bytes + WEIGHTS_SLACK).toBeLessThanOrEqual(plan.arenaBytes);
    expect([px, pLate, pEarly, pT].map((l) => l.bytes)).toEqual([12, 40, 24, 100]);
  });

  it('prepares weights once for calls that agree in what the layout depends on; the region follows the ranking', () => {
    const b = new Builder();
    const x = b.buffer('u8', 12);
    const w = b.constant('i8', weights);
    const ys = [b.conv(x, w), b.conv(x, w), b.conv(x, w, { xZero: 9 })];
    const variants = [variant('slow', { cost: () => 5 }), variant('v', { prepared: () => 70 })];
    const plan = makePlan(b.program([x], ys), { target: 't', variants });
    expect(plan.calls.map((c) => c.prepared)).toEqual([0, 0, 128].map((offset) => ({ region: 'prepared', offset, bytes: 70 })));
    expect([plan.preparations, plan.preparedBytes]).toEqual([[0, 2], 256 + WEIGHTS_SLACK]);
    expect(plan.calls[0].ranking.map((r) => [r.variant.name, r.cost])).toEqual([['v', 1], ['slow', 5]]);
    const few = makePlan(b.program([x], [b.conv(x, w, { hi: 3 }), b.conv(x, w, { hi: 3 })]), { target: 't', variants });
    expect(few.calls.slice(-2).map((c) => c.prepared?.offset)).toEqual([256, 384]); // of multipliers of their own
    const measured = makePlan(b.program([x], ys), { target: 't', variants, cost: (v) => (v.name === 'slow' ? 1 : 2) });
    expect([measured.calls[0].variant!.name, measured.calls[0].prepared, measured.preparedBytes]).toEqual(['slow', null, 0]);
  });

  it('serves outputs that are constants, and programs without calls', () => {
    const b = new Builder();
    const [x, c] = [b.buffer('f32', 2), b.constant('f32', [3, 4])];
    const plan = makePlan(b.program([x], [c]), { target: 't', variants: [] });
    expect(plan.outputs[0].location).toMatchObject({ region: 'weights', bytes: 8 });
    expect([...new Float32Array(bytesAt(plan, plan.outputs[0].location).slice().buffer)]).toEqual([3, 4]);
    expect([plan.packedBytes, plan.inputs[0].location.region]).toEqual([0, 'arena']);
  });

  it('refuses what no variant takes, and weights that are no constant: E601', () => {
    const b = new Builder();
    const [x, w] = [b.buffer('u8', 12), b.constant('i8', weights)];
    const y = b.conv(x, w);
    const e601 = expect.objectContaining({ diagnostic: expect.objectContaining({ code: 'E601', node: 'conv0' }) });
    expect(() => makePlan(b.program([x], [y]), { target: 't', variants: [variant('v', { accepts: () => false })] })).toThrow(e601);
    const d = new Builder();
    const [x2, w2] = [d.buffer('u8', 12), d.buffer('i8', 15)];
    const y2 = d.conv(x2, w2);
    expect(() => makePlan(d.program([x2, w2], [y2]), { target: 't', variants: [variant('v')] })).toThrow(e601);
  });
});
