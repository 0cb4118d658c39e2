/** What an operation is. One file per op calls {@link defineOp}; `registry.ts` lists them. */
import { fail } from '@bitloom/diagnostics';
import type { GraphBuilder, TensorType, ValueId } from '@bitloom/ir';
import { type Expr, type KernelBody, NestBuilder, type View, runNest } from '@bitloom/kernel-spec';
import type { QuantParams } from '@bitloom/numerics';
import { type DType, type Tensor, type TypedArray, allocate, elementCount, rowMajorStrides } from '@bitloom/tensor';
import type { z } from 'zod';

/** What a gradient rule sees: the forward values, and the cotangent of each output (null where nothing flows back). */
export interface GradientContext<A> {
  readonly inputs: readonly ValueId[];
  readonly outputs: readonly ValueId[];
  readonly attrs: A;
  readonly cotangents: readonly (ValueId | null)[];
}

/** Storage of one operand at lowering: a view without its operand number, and constant contents (logical row-major) if known. */
export interface Operand extends Omit<View, 'operand'> {
  readonly elements: number;
  readonly constant: Tensor | null;
  /** Parameters of a quantised constant weight; activations have theirs in `quant`. */
  readonly weight: QuantParams | null;
}

export interface LowerInput<A> {
  readonly attrs: A;
  readonly inputs: readonly Operand[];
  readonly outputs: readonly Operand[];
}

/** A constant that lowering makes (packed weights, requantisation multipliers). */
export interface NewConstant {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
  readonly data: TypedArray;
}

/** The kernel call of a node: each argument is an input (by number) or a new constant; results are the node's outputs. */
export interface Lowering {
  readonly body: KernelBody;
  readonly args: readonly (number | NewConstant)[];
}

/** Nullable fields are required, so that an author decides. Methods are bivariant on purpose: the registry holds OpDef<unknown>. */
export interface OpDef<A = unknown> {
  readonly name: string;
  readonly summary: string;
  readonly attrs: z.ZodType<A>;
  /** Output types. @throws E204 through {@link mismatch} when the input types do not fit. */
  infer(inputs: readonly TensorType[], attrs: A, origin: string): readonly TensorType[];
  /** Exact value of the outputs on row-major tensors: folding, tests, the oracle of lowering. */
  evaluate(inputs: readonly Tensor[], attrs: A, outputs: readonly TensorType[]): Tensor[];
  /**
   * Emits IR for the cotangent of each input (null: none). Rules use core ops only, so they can be differentiated again.
   * `null` for an op through which no gradient can flow (E403 if asked); integer and boolean inputs always get null.
   */
  readonly gradient: null | ((b: GraphBuilder, c: GradientContext<A>) => (ValueId | null)[]);
  lower(n: LowerInput<A>): Lowering;
  /**
   * Set for elementwise ops with numpy broadcasting: the scalar expression, so that chains fuse into one nest. `out` and `ins`
   * are logical types (f32 for quantised operands). The result is in range of `out`: storing and loading it changes nothing.
   */
  readonly scalar: null | ((args: readonly Expr[], attrs: A, out: DType, ins: readonly DType[]) => Expr);
  /** True where input 0 and output 0 must be stored channels-last (N, spatial…, C). */
  readonly channelsLast: boolean;
  /**
   * Set where `lower` may keep partial results in its outputs, and whether it does: then they cannot be codes, which are made of
   * them afterwards.
   */
  readonly accumulates: null | ((n: LowerInput<A>) => boolean);
}

export function defineOp<A>(def: OpDef<A>): OpDef {
  return def as OpDef;
}

/** Throws E204 for an operation whose operands do not fit. */
export function mismatch(origin: string, op: string, found: string, expected: string): never {
  fail('E204', `operands of ${op} do not fit`, { node: origin, found, expected });
}

type NestBody<A> = (b: NestBuilder, inputs: readonly View[], outputs: readonly View[], attrs: A) => void;

function buildNest<A>(n: LowerInput<A>, body: NestBody<A>): Lowering {
  const all = [...n.inputs, ...n.outputs];
  const views = all.map((o, operand) => ({ operand, dtype: o.dtype, shape: o.shape, strides: o.strides, quant: o.quant }));
  const b = new NestBuilder(all.map((o) => ({ dtype: o.dtype, elements: o.elements })));
  body(b, views.slice(0, n.inputs.length), views.slice(n.inputs.length), n.attrs);
  return { body: { family: 'nest', params: b.build() }, args: n.inputs.map((_, i) => i) };
}

/** Row-major operand of a type. */
export const plainOperand = (t: TensorType, constant: Tensor | null = null): Operand => ({
  dtype: t.dtype, shape: t.shape, strides: rowMajorStrides(t.shape), elements: elementCount(t.shape), quant: null, constant, weight: null,
});

/** `evaluate` and `lower` from one nest: the same statements are the definition, the reference and the generated code. */
export function byNest<A>(body: NestBody<A>): Pick<OpDef<A>, 'evaluate' | 'lower' | 'scalar' | 'channelsLast' | 'accumulates'> {
  const lower = (n: LowerInput<A>): Lowering => buildNest(n, body);
  return {
    scalar: null,
    channelsLast: false,
    accumulates: null,
    lower,
    evaluate: (inputs, attrs, outputs) => {
      const l = lower({ attrs, inputs: inputs.map((t) => plainOperand(t, t)), outputs: outputs.map((t) => plainOperand(t)) });
      if (l.body.family !== 'nest') throw new Error('byNest builds nests only');
      const results = outputs.map((t) => allocate(t.dtype, t.shape));
      runNest(l.body.params, [...inputs, ...results].map((t) => t.data));
      return results;
    },
  };
}

/** Logical element type of an operand: quantised codes stand for f32. */
export const logicalType = (v: Pick<View, 'dtype' | 'quant'>): DType => (v.quant ? 'f32' : v.dtype);

/** Outputs as `lower` writes them: floats in place of codes where it accumulates in them. */
export const writtenOutputs = (op: OpDef, n: LowerInput<unknown>): readonly Operand[] =>
  op.accumulates?.(n) ? n.outputs.map((o) => ({ ...o, dtype: logicalType(o), quant: null })) : n.outputs;

/** An elementwise op with numpy broadcasting, from its scalar expression. */
export function byScalar<A>(scalar: NonNullable<OpDef<A>['scalar']>): ReturnType<typeof byNest<A>> {
  return {
    ...byNest<A>((b, ins, [out], attrs) => b.elementwise(out, ins, (args) => scalar(args, attrs, logicalType(out), ins.map(logicalType)))),
    scalar,
  };
}
