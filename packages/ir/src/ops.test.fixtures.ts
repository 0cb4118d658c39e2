/** A few operations and random graphs of them, for tests of this layer. */
import { fail } from '@bitloom/diagnostics';
import type { Bits, QuantScheme } from '@bitloom/numerics';
import { DTYPES, type DType, type Tensor, allocate, elementCount, sameShape, tensorOf } from '@bitloom/tensor';
import fc from 'fast-check';
import { GraphBuilder, type OpTable } from './builder.js';
import { FLOAT, type Graph, PHASES, type Phase, type Precision } from './graph.js';

/** `add` takes two operands of one type, `unary` any attributes, `halves` splits the first axis in two results. */
export const ops: OpTable = {
  infer(op, ins, attrs, origin) {
    const arity: Record<string, number> = { const: 0, add: 2, unary: 1, identity: 1, halves: 1 };
    if (!Object.hasOwn(arity, op)) fail('E402', `unknown operation ${op}`, { node: origin });
    if (ins.length !== arity[op]) fail('E204', `${op} takes ${arity[op]} operands`, { node: origin });
    if (op === 'const') return [{ dtype: (attrs as { data: Tensor }).data.dtype, shape: (attrs as { data: Tensor }).data.shape }];
    if (op === 'add' && (ins[0].dtype !== ins[1].dtype || !sameShape(ins[0].shape, ins[1].shape))) fail('E204', 'operands of add differ', { node: origin });
    if (op !== 'halves') return [ins[0]];
    const [n, ...rest] = ins[0].shape;
    if (!n || n % 2 !== 0) fail('E204', 'halves of an odd axis', { node: origin });
    const half = { dtype: ins[0].dtype, shape: [n / 2, ...rest] };
    return [half, half];
  },
};

export const builder = (name = 'g', phase: Phase = 'float'): GraphBuilder => new GraphBuilder(name, ops, phase);

const text = fc.oneof(fc.string(), fc.constantFrom('a', 'conv/1:0', 'x"y\\', 'ü\n', 'return'));
const number = fc.oneof(fc.double(), fc.integer(), fc.constantFrom(0, -0, Infinity, -Infinity, NaN, 1e21, 5e-324));

/** Any attribute the text form can hold. */
export const attribute: fc.Arbitrary<unknown> = fc.letrec((tie) => ({
  value: fc.oneof({ depthSize: 'small' }, number, text, fc.boolean(), fc.constant(null), fc.array(tie('value'), { maxLength: 4 }), fc.dictionary(text, tie('value'), { maxKeys: 3, noNullPrototype: true })),
})).value;

export const anyTensor: fc.Arbitrary<Tensor> = fc
  .record({ dtype: fc.constantFrom(...(Object.keys(DTYPES) as DType[])), shape: fc.array(fc.nat(4), { maxLength: 3 }) })
  .chain(({ dtype, shape }) => {
    const count = elementCount(shape);
    const info = DTYPES[dtype];
    const element = info.kind === 'float' ? (info.bytes === 4 ? fc.float() : fc.double()) : info.kind === 'bool' ? fc.nat(1) : fc.bigInt({ min: -(2n ** 70n), max: 2n ** 70n });
    return fc.array(element as fc.Arbitrary<number | bigint>, { minLength: count, maxLength: count }).map((values) => {
      const t = allocate(dtype, shape);
      // Assignment wraps integers into the element type.
      values.forEach((v, i) => ((t.data as Float32Array | BigInt64Array)[i] = (info.bytes === 8 || typeof v === 'number' ? v : Number(BigInt.asIntN(32, v))) as never));
      return t;
    });
  });

const bits = fc.integer({ min: 1, max: 8 }) as fc.Arbitrary<Bits>;

/** Precisions of a phase that its table allows; `channels` is set for weights. */
function precision(phase: Phase, channels: number | null): fc.Arbitrary<Precision> {
  const scheme = bits.map((b): QuantScheme => ({ bits: b, signed: channels !== null, axis: channels === null ? null : 0 }));
  const scale = fc.float({ min: Math.fround(1e-6), max: 1e6, noNaN: true });
  const some: Record<Phase, fc.Arbitrary<Precision>> = {
    float: fc.constant(FLOAT),
    candidates: fc.uniqueArray(bits, { minLength: 1 }).map((all) => ({ state: 'candidates', schemes: all.map((b) => ({ bits: b, signed: channels !== null, axis: channels === null ? null : 0 })) })),
    chosen: scheme.map((s) => ({ state: 'chosen', scheme: s })),
    calibrated: fc.tuple(scheme, fc.array(scale, { minLength: channels ?? 1, maxLength: channels ?? 1 }), fc.nat(1)).map(([s, values, z]) => ({
      state: 'calibrated',
      params: { scheme: s, scale: Float32Array.from(values), zeroPoint: Int32Array.from(values, () => (s.signed ? 0 : z)) },
    })),
  };
  return fc.oneof(fc.constant(FLOAT), some[phase]);
}

/** Valid graphs of a random phase. */
export const anyGraph: fc.Arbitrary<Graph> = fc.constantFrom(...PHASES).chain((phase) =>
  fc.record({
    name: text,
    inputs: fc.array(fc.tuple(text, precision(phase, null)), { minLength: 1, maxLength: 3 }),
    constants: fc.array(fc.tuple(text, anyTensor), { maxLength: 3 }),
    weights: fc.array(fc.integer({ min: 1, max: 12 }).chain((n) => fc.tuple(fc.constant(n), precision(phase, n))), { maxLength: 2 }),
    nodes: fc.array(
      fc.record({ op: fc.constantFrom('add', 'unary', 'halves'), pick: fc.nat(), name: text, origin: text, attrs: fc.dictionary(text, attribute, { maxKeys: 3, noNullPrototype: true }), precision: precision(phase, null) }),
      { maxLength: 8 },
    ),
    outputs: fc.array(fc.nat(), { minLength: 1, maxLength: 3 }),
  }).map(({ name, inputs, constants, weights, nodes, outputs }) => {
    const b = builder(name, phase);
    const live = inputs.map(([n, p]) => b.input(n, { dtype: 'f32', shape: [8, 2] }, p));
    for (const [n, t] of constants) b.const(t, n);
    for (const [n, p] of weights) b.const(tensorOf('f32', [n], new Array<number>(n).fill(0.5)), 'w', p);
    for (const n of nodes) {
      b.origin = n.origin;
      const x = live[n.pick % live.length];
      const even = b.shapeOf(x)[0] % 2 === 0;
      const op = n.op === 'halves' && !even ? 'unary' : n.op;
      live.push(...b.addMany(op, op === 'add' ? [x, x] : [x], n.attrs, { names: [n.name, 'second'], precision: [n.precision] }));
    }
    return b.build(outputs.map((o) => live[o % live.length]));
  }));
