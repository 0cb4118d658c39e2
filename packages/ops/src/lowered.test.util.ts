/** Runs what an op lowers to, on operands stored and quantised as a test asks. */
import { expect } from 'vitest';
import { convReference, runNest } from '@bitloom/kernel-spec';
import { type QuantParams, dequantize, quantize } from '@bitloom/numerics';
import { type DType, Rng, type Tensor, allocate, elementCount, getAt, rowMajorStrides, setAt, tensorOf } from '@bitloom/tensor';
import { type Lowering, type Operand, writtenOutputs } from './def.js';
import { channelsLastStrides } from './lowering.js';
import { getOp } from './registry.js';

export interface Stored {
  readonly tensor: Tensor;
  /** Stored as u8 codes. */
  readonly quant?: QuantParams;
  /** A constant, its weight parameters if it is quantised. */
  readonly weight?: QuantParams;
  readonly constant?: boolean;
}

export const normal = (shape: readonly number[], seed: number, dtype: DType = 'f32'): Tensor => {
  const rng = new Rng(seed);
  return tensorOf(dtype, shape, Array.from({ length: elementCount(shape) }, () => rng.normal()));
};

/** Small integers, so that f32 sums are exact in any order and ties occur. */
export const integers = (shape: readonly number[], seed: number, dtype: DType = 'f32'): Tensor => {
  const rng = new Rng(seed);
  return tensorOf(dtype, shape, Array.from({ length: elementCount(shape) }, () => rng.int(15) - 7));
};

export const activationParams = (bits: number, scale: number, zero: number): QuantParams => ({
  scheme: { bits: bits as 8, signed: false, axis: null }, scale: Float32Array.of(scale), zeroPoint: Int32Array.of(zero),
});

/** Offsets of the logical row-major elements. */
const offsets = (shape: readonly number[], strides: readonly number[]): number[] =>
  shape.reduce<number[]>((all, n, a) => all.flatMap((at) => Array.from({ length: n }, (_, i) => at + i * strides[a])), [0]);

/** What the node lowers to; outputs that accumulate are floats. */
export function lowerOp(
  name: string, inputs: readonly Stored[], attrs: unknown, outputs: readonly (QuantParams | null)[], channelsLast: boolean,
): { lowering: Lowering; ins: Operand[]; outs: Operand[] } {
  const op = getOp(name);
  const strides = (shape: readonly number[], moves: boolean): number[] =>
    channelsLast && moves && shape.length > 2 ? channelsLastStrides(shape) : rowMajorStrides(shape);
  const ins = inputs.map(({ tensor: t, quant, weight, constant }, i): Operand => ({
    dtype: quant ? 'u8' : t.dtype, shape: t.shape, strides: strides(t.shape, i === 0), elements: t.data.length, quant: quant ?? null,
    constant: constant || weight ? t : null, weight: weight ?? null,
  }));
  const outs = op.infer(inputs.map((s) => s.tensor), attrs, 'node').map((t, i): Operand => ({
    dtype: outputs[i] ? 'u8' : t.dtype, shape: t.shape, strides: strides(t.shape, true), elements: elementCount(t.shape), quant: outputs[i] ?? null,
    constant: null, weight: null,
  }));
  const written = [...writtenOutputs(op, { attrs, inputs: ins, outputs: outs })];
  return { lowering: op.lower({ attrs, inputs: ins, outputs: written }), ins, outs: written };
}

/** Logical results: codes where `outputs[i]` says how the output is quantised. */
export function runLowered(
  name: string, inputs: readonly Stored[], attrs: unknown, outputs: readonly (QuantParams | null)[] = [], channelsLast = true,
): Tensor[] {
  const { lowering, ins, outs } = lowerOp(name, inputs, attrs, outputs, channelsLast);
  const stored = ins.map((o, i) => {
    const { tensor: t, quant } = inputs[i];
    const source = quant ? tensorOf('u8', t.shape, quantize(t.data as Float32Array, t.shape, quant)) : t;
    const physical = allocate(o.dtype, t.shape);
    offsets(t.shape, o.strides).forEach((at, j) => setAt(physical, at, source.data[j]));
    return physical.data;
  });
  const args = lowering.args.map((a) => (typeof a === 'number' ? stored[a] : a.data));
  const results = outs.map((o) => allocate(o.dtype, o.shape));
  const { body } = lowering;
  if (body.family === 'conv') convReference(body.params, args, results[0].data);
  else runNest(body.params, [...args, ...results.map((r) => r.data)]);
  const logical = results.map((r, i) => tensorOf(r.dtype, r.shape, offsets(r.shape, outs[i].strides).map((at) => r.data[at])));
  // Of what was accumulated as floats.
  return logical.map((t, i) => (outputs[i] && !outs[i].quant ? tensorOf('u8', t.shape, codesOf(t, outputs[i]).data as Int32Array) : t));
}

/** Codes of f32 values, the values of codes, and the first through the second. */
export const codesOf = (t: Tensor, q: QuantParams): Tensor => tensorOf('i32', t.shape, quantize(t.data as Float32Array, t.shape, q));
export const decoded = (codes: Tensor, q: QuantParams): Tensor => tensorOf('f32', codes.shape, dequantize(codes.data as Int32Array, codes.shape, q));
export const rounded = (t: Tensor, q: QuantParams): Tensor => decoded(codesOf(t, q), q);

/** Runs the op on row-major tensors. */
export function evaluateOp(name: string, inputs: readonly Tensor[], attrs: unknown): Tensor[] {
  const op = getOp(name);
  return op.evaluate(inputs, attrs, op.infer(inputs, attrs, 'node'));
}

/** Largest absolute difference. */
export const distance = (a: Tensor, b: Tensor): number =>
  Array.from({ length: a.data.length }, (_, i) => Math.abs(getAt(a, i) - getAt(b, i))).reduce((p, d) => Math.max(p, d), 0);

/** All indices of a shape, in row-major order. */
export const indices = (shape: readonly number[]): number[][] =>
  shape.reduce<number[][]>((all, d) => all.flatMap((i) => Array.from({ length: d }, (_, v) => [...i, v])), [[]]);

/** Matches errors of a code. */
export const coded = (code: string): unknown => expect.objectContaining({ code });
