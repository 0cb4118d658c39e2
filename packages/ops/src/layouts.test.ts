import { describe, expect, it } from 'vitest';
import type { TensorType } from '@bitloom/ir';
import { runNest } from '@bitloom/kernel-spec';
import { dequantize, type QuantParams, quantize } from '@bitloom/numerics';
import { allocate, elementCount, Rng, rowMajorStrides, type Tensor, tensorOf, type TypedArray, toNumbers } from '@bitloom/tensor';
import { type Case, discrete, smooth, title } from './cases.test.util.js';
import { type Operand, plainOperand, writtenOutputs } from './def.js';
import { getOp, opTable } from './registry.js';

const rng = new Rng(11);

/** Dense strides of a random axis order. */
function randomStrides(shape: readonly number[]): number[] {
  const order = [...rng.permutation(shape.length)];
  const physical = rowMajorStrides(order.map((a) => shape[a]));
  return shape.map((_, a) => physical[order.indexOf(a)]);
}

/** Physical offset of each element in row-major order. */
function offsets(shape: readonly number[], strides: readonly number[]): number[] {
  const rows = rowMajorStrides(shape);
  return Array.from({ length: elementCount(shape) }, (_, i) => shape.reduce((at, n, a) => at + (Math.floor(i / rows[a]) % n) * strides[a], 0));
}

function move(t: Tensor, strides: readonly number[], back: boolean): TypedArray {
  const out = t.data.slice();
  offsets(t.shape, strides).forEach((at, i) => {
    if (back) out[i] = t.data[at];
    else out[at] = t.data[i];
  });
  return out;
}

/** Runs the lowered nest on operands in the given layouts and storage; results come back row-major. */
function runLowered(c: Case, inputs: readonly (Operand & { tensor: Tensor })[], outputs: readonly Operand[]): Tensor[] {
  const op = getOp(c.op);
  const written = writtenOutputs(op, { attrs: c.attrs, inputs, outputs });
  const lowering = op.lower({ attrs: c.attrs, inputs, outputs: written });
  if (lowering.body.family !== 'nest') throw new Error('not a nest');
  expect(lowering.args).toEqual(inputs.map((_, i) => i));
  const results = written.map((o) => allocate(o.dtype, o.shape));
  runNest(lowering.body.params, [...inputs.map((o) => move(o.tensor, o.strides, false)), ...results.map((t) => t.data)]);
  return results.map((t, i) => {
    const logical = { ...t, data: move(t, written[i].strides, true) };
    const q = outputs[i].quant;
    return q && !written[i].quant ? codes(logical, q) : logical;
  });
}

const codes = (t: Tensor, q: QuantParams): Tensor => tensorOf('u8', t.shape, quantize(toNumbers(t), t.shape, q));
const withLayout = (o: Operand): Operand => ({ ...o, strides: randomStrides(o.shape) });
const outputTypes = (c: Case) => opTable.infer(c.op, c.inputs, c.attrs, '');

describe('lowered nests', () => {
  const quant = (scale: number, zero: number): QuantParams => ({
    scheme: { bits: 8, signed: false, axis: null }, scale: Float32Array.of(scale), zeroPoint: Int32Array.of(zero),
  });

  it.each([...smooth, ...discrete].map((c) => [title(c), c] as const))('%s gives the same bits in any layout', (_, c) => {
    const types = outputTypes(c);
    const expected = getOp(c.op).evaluate(c.inputs, c.attrs, types);
    for (let k = 0; k < 6; k++) {
      const inputs = c.inputs.map((t) => ({ ...withLayout(plainOperand(t)), tensor: t }));
      expect(runLowered(c, inputs, types.map((t) => withLayout(plainOperand(t))))).toEqual(expected);
    }
  });

  const real = (t: Tensor, q: QuantParams): Tensor => tensorOf('f32', t.shape, dequantize(toNumbers(t), t.shape, q));
  const stored = (t: TensorType, q: QuantParams | null): Operand => ({ ...plainOperand({ dtype: q ? 'u8' : t.dtype, shape: t.shape }), quant: q });

  /** Reductions of a scatter round to codes at every update, so they are not the rounding of the float result. */
  const quantisable = [...smooth, ...discrete].filter((c) => c.inputs[0].dtype === 'f32' && !/scatter.*(add|mul|max|min)/.test(title(c)));
  it.each(quantisable.map((c) => [title(c), c] as const))('%s decodes and encodes quantised operands', (_, c) => {
    const types = outputTypes(c);
    const shared = quant(0.05, 100);
    for (const [qin, qout] of [[shared, shared], [shared, quant(0.031, 90)], [null, shared], [shared, null]] as const) {
      const qi = c.inputs.map((t) => (t.dtype === 'f32' ? qin : null));
      const qo = types.map((t) => (t.dtype === 'f32' ? qout : null));
      const inputs = c.inputs.map((t, i) => ({ ...withLayout(stored(t, qi[i])), tensor: qi[i] ? codes(t, qi[i]) : t }));
      const expected = getOp(c.op)
        .evaluate(inputs.map((o) => (o.quant ? real(o.tensor, o.quant) : o.tensor)), c.attrs, types)
        .map((t, i) => (qo[i] ? codes(t, qo[i]) : t));
      expect(runLowered(c, inputs, types.map((t, i) => withLayout(stored(t, qo[i]))))).toEqual(expected);
    }
  });

  it('moves codes without arithmetic where both sides are quantised alike', () => {
    const q = quant(0.05, 100);
    const moves = ['reshape', 'transpose', 'expand', 'slice', 'concat', 'pad', 'gather', 'gather_elements', 'gather_nd', 'identity'];
    for (const c of smooth.filter((s) => moves.includes(s.op))) {
      const types = outputTypes(c);
      const { body } = getOp(c.op).lower({
        attrs: c.attrs,
        inputs: c.inputs.map((t) => stored(t, t.dtype === 'f32' ? q : null)),
        outputs: types.map((t) => stored(t, q)),
      });
      expect(JSON.stringify(body, (_, v: unknown) => (typeof v === 'bigint' ? String(v) : v)), c.op).not.toMatch(/"f32"/);
    }
  });
});
